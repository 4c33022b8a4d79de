//! What each step of a request costs in user space: parse, recall, respond, encode, log; nanoseconds.
//!
//! `cargo bench` prints the time per request. The kernel's share, which is most of it, is not in
//! these figures, but for what the site asks it (`recall`, `site`).

mod work;

use std::time::Instant;

use criterion::{Bencher, Criterion, criterion_group, criterion_main};

use work::{STEPS, Step};

fn steps(criterion: &mut Criterion) {
    for step in STEPS {
        match step.name.split_once('/') {
            Some((group, name)) => {
                let mut group = criterion.benchmark_group(group);
                group.bench_function(name, |bencher| time(bencher, step));
                group.finish();
            }
            None => {
                criterion.bench_function(step.name, |bencher| time(bencher, step));
            }
        }
    }
}

/// Times a step, for each request that it is done for.
fn time(bencher: &mut Bencher<'_>, step: &Step) {
    let mut work = (step.begin)();
    bencher.iter_custom(|requests| {
        let times = requests.div_ceil(step.requests);
        let start = Instant::now();
        for _ in 0..times {
            work();
        }
        let share = requests as f64 / (times * step.requests) as f64;
        start.elapsed().mul_f64(share)
    });
}

criterion_group!(all, steps);
criterion_main!(all);
