//! What docroot promises, one promise per file, each tried on a real server over real sockets.
//!
//! All of them are one program: it is built and linked once, and while some wait, others work.

mod adds_fields;
mod agrees_on_tags;
mod answers_conditionals;
mod asks_for_passwords;
mod believes_proxies;
mod browses;
mod checks_a_site;
mod checks_health;
mod compresses;
mod compresses_on_the_fly;
mod documents_itself;
mod examples;
mod explains;
mod finds_the_way;
mod follows_links;
mod holds_many_connections;
mod keeps_connections;
mod keeps_its_house;
mod keeps_to_its_sandbox;
mod listens;
mod lists_folders;
mod logs_access;
mod logs_formats;
mod makes_room;
mod negotiates_codings;
mod outlives_slow_peers;
mod pipelines;
mod refuses_malformed;
mod reloads_in_a_browser;
mod reloads_live;
mod retires_gracefully;
mod sees_changes;
mod serves_files;
mod serves_ranges;
mod shares_the_work;
mod soaks;
mod starts_and_says;
mod stays_in_its_root;
mod support;
mod survives_changing_files;
mod switches_releases;
mod tells_caches;
mod tells_health;
mod tells_metrics;
