//! Configured rules: fields and redirects by path, and the policy that they are part of.

pub(crate) mod field;
pub(crate) mod headers;
pub(crate) mod path_rules;
pub(crate) mod pattern;
pub(crate) mod policy;
pub(crate) mod policy_sources;
pub(crate) mod redirects;
pub(crate) mod shared_policy;

pub use field::ConfiguredField;
pub use headers::{FieldChange, HeaderRules};
pub use path_rules::RuleError;
pub use policy::{Policy, TracedFieldChange};
pub use policy_sources::{LoadedPolicy, MediaTypesInput, PolicySources};
pub use redirects::{RedirectMatch, RedirectRules, RedirectTarget};
pub use shared_policy::SharedPolicy;
