//! Black-box tests of a docroot process over real sockets, one subject per file. (Where a test chooses the time, it
//! calls the library.)
//!
//! All files are one program: it is built and linked once, and while some tests wait, others run.

mod access_log;
mod access_log_formats;
mod basic_auth;
mod cache_control;
mod cache_freshness;
mod cached_lookups;
mod check_command;
mod compress_command;
mod conditional_requests;
mod connection_limits;
mod content_codings;
mod directory_listing;
mod documentation;
mod entity_tags;
mod examples;
mod explain_command;
mod file_changes;
mod graceful_shutdown;
mod health_endpoint;
mod healthcheck_command;
mod keep_alive;
mod keeps_its_house;
mod listeners;
mod live_reload;
mod live_reload_in_browser;
mod malformed_requests;
mod manual_and_completions;
mod many_connections;
mod messages;
mod metrics;
mod on_the_fly_compression;
mod path_mapping;
mod pipelining;
mod range_requests;
mod releases;
mod response_fields;
mod root_confinement;
mod sandbox;
mod site_in_browser;
mod slow_clients;
mod soak;
mod startup;
mod static_files;
mod support;
mod symbolic_links;
mod trusted_proxies;
mod workers;
