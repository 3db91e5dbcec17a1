//! The parts of a request that limits read, and the key of its bucket.

use std::{net::IpAddr, time::Instant};

use super::{Dimension, ScopeDecisions};
use crate::core::limit_status::Cost;

/// The parts of a request that limits read.
#[derive(Clone, Copy, Debug)]
pub struct LimitRequest<'a> {
    /// The time of the decision, the same for all limits.
    pub at: Instant,
    /// The address of the client.
    pub ip: IpAddr,
    /// The API key; needed only if [`Limits::needs_key`](super::Limits::needs_key).
    pub key: Option<&'a str>,
    /// The requested model; needed only if [`Limits::needs_model`](super::Limits::needs_model).
    pub model: &'a str,
    /// The deployment in the path.
    pub deployment: Option<&'a str>,
    /// The path of the request.
    pub path: &'a str,
    /// The scope and the number of its resets; `None` for the default scope, which was never reset.
    pub scope: Option<(&'a str, u64)>,
    /// The place where the scope counts decisions; `None` for the default scope.
    pub decisions: Option<&'a ScopeDecisions>,
    /// The cost to reserve; needed only if [`Limits::needs_cost`](super::Limits::needs_cost).
    pub cost: Cost,
}

impl<'a> LimitRequest<'a> {
    /// Returns the parts that identify its bucket in a limit with these dimensions.
    pub(super) fn parts(&self, per: &[Dimension]) -> impl Iterator<Item = BucketKeyPart<'a>> {
        let scope = self.scope.map(|(name, resets)| BucketKeyPart::Scope(name, resets));
        let dimensions = per.iter().map(|dimension| match (dimension, self.key) {
            (Dimension::Ip, _) | (Dimension::Key, None) => BucketKeyPart::Address(self.ip),
            (Dimension::Key, Some(key)) => BucketKeyPart::Key(key),
            (Dimension::Model, _) => BucketKeyPart::Model(self.model),
            (Dimension::Deployment, _) => BucketKeyPart::Model(self.deployment.unwrap_or(self.model)),
            (Dimension::Endpoint, _) => BucketKeyPart::Path(self.path),
            (Dimension::Global, _) => BucketKeyPart::Global,
        });
        dimensions.chain(scope)
    }
}

/// One part of the identity of a bucket.
#[derive(Clone, Copy, Hash)]
pub(super) enum BucketKeyPart<'a> {
    Address(IpAddr),
    Key(&'a str),
    Model(&'a str),
    Path(&'a str),
    Global,
    Scope(&'a str, u64),
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{from_client, limits, passes},
        *,
    };
    use crate::traffic::limit::LimitSpec;

    #[test]
    fn each_value_of_a_dimension_has_its_own_quota() {
        let one = |per: &[Dimension]| LimitSpec { per: per.to_vec(), ..LimitSpec::rpm(1) };
        let other: [(Dimension, fn() -> LimitRequest<'static>); 5] = [
            (Dimension::Ip, || from_client(2)),
            (Dimension::Key, || LimitRequest { key: Some("sk-2"), ..from_client(1) }),
            (Dimension::Model, || LimitRequest { model: "o3", ..from_client(1) }),
            (Dimension::Deployment, || LimitRequest { deployment: Some("mine"), ..from_client(1) }),
            (Dimension::Endpoint, || LimitRequest { path: "/v2", ..from_client(1) }),
        ];
        let scopes = [Some(("t7", 0)), Some(("t7", 1)), Some(("t8", 0)), Some(("", 1))];
        for (dimension, other_request) in &other {
            let (limits, _) = limits(&[one(&[*dimension])], false);
            assert!(passes(&limits, &from_client(1)) && !passes(&limits, &from_client(1)), "{dimension:?}");
            assert!(passes(&limits, &other_request()), "{dimension:?} separates them");
            for scope in scopes {
                assert!(passes(&limits, &LimitRequest { scope, ..from_client(1) }), "{scope:?} is a space of its own");
            }
        }
        let (limits, _) = limits(&[one(&[Dimension::Global])], false);
        assert!(passes(&limits, &from_client(1)));
        for (dimension, other_request) in &other {
            assert!(!passes(&limits, &other_request()), "{dimension:?} is ignored by a global limit");
        }
    }
}
