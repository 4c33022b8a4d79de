//! The command line and the environment, and the server options that result from them.

mod arguments;
mod binds;
mod command_line;
mod compress;
mod config;
mod defaults;
mod environment;
mod etag;
mod explain;
mod group;
mod health;
mod healthcheck;
mod live;
mod log;
mod manual;
mod metrics;
mod mistakes;
mod proxies;
mod reference;
mod root;
mod sandbox;
mod site;
mod users;
mod values;

pub(crate) use self::arguments::{Arguments, Command};
pub(crate) use self::command_line::{root_hint, unknown_variables};
pub(crate) use self::compress::CompressOptions;
pub(crate) use self::config::Config;
pub(crate) use self::explain::{ExplainArguments, ExplainRequest};
pub(crate) use self::healthcheck::HealthcheckRequest;
pub(crate) use self::log::{AccessLogConfig, has_colours};
pub(crate) use self::users::UserSources;
