//! Times of each step of a request in user space, in nanoseconds: parse, cache lookup, respond, encode, log.
//!
//! `cargo bench` prints the time per request. The kernel's share, which is most of a request, is not included, except
//! for the site's system calls (`cached`, `site`).

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

/// Measures the time of a step per request.
fn time(bencher: &mut Bencher<'_>, step: &Step) {
    let mut work = (step.setup)();
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
