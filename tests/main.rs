//! Black-box tests of a docroot process over real sockets, one subject per file.
//!
//! All files are one program: it is built and linked once, and while some tests wait, others run.

mod basic_auth;
mod browses;
mod cache_control;
mod cache_freshness;
mod checks_a_site;
mod compress_command;
mod conditional_requests;
mod connection_limits;
mod content_codings;
mod directory_listing;
mod documents_itself;
mod entity_tags;
mod examples;
mod explains;
mod file_changes;
mod graceful_shutdown;
mod healthcheck_command;
mod keep_alive;
mod keeps_its_house;
mod listeners;
mod live_reload;
mod live_reload_in_browser;
mod logs_access;
mod logs_formats;
mod malformed_requests;
mod many_connections;
mod on_the_fly_compression;
mod path_mapping;
mod pipelining;
mod range_requests;
mod releases;
mod response_fields;
mod root_confinement;
mod sandbox;
mod slow_clients;
mod soak;
mod starts_and_says;
mod static_files;
mod support;
mod symbolic_links;
mod tells_health;
mod tells_metrics;
mod trusted_proxies;
mod workers;
