//! What limits ask of a request, and what tells one bucket from another.

use std::{net::IpAddr, time::Instant};

use super::Dimension;
use crate::core::limit_status::Cost;

/// What limits ask of a request.
#[derive(Clone, Copy, Debug)]
pub struct LimitRequest<'a> {
    /// When: all limits decide for this moment, which has been read already.
    pub at: Instant,
    /// The client's address.
    pub ip: IpAddr,
    /// The key that came with it; wanted only if [`Limits::needs_key`](super::Limits::needs_key).
    pub key: Option<&'a str>,
    /// The model asked for; wanted only if [`Limits::needs_model`](super::Limits::needs_model).
    pub model: &'a str,
    /// The deployment in the path, if there is one.
    pub deployment: Option<&'a str>,
    /// The path.
    pub path: &'a str,
    /// What it is booked with; wanted only if [`Limits::needs_cost`](super::Limits::needs_cost).
    pub cost: Cost,
}

impl<'a> LimitRequest<'a> {
    /// What tells the bucket of a limit that is `per` these from its others.
    pub(super) fn parts(&self, per: &[Dimension]) -> impl Iterator<Item = Part<'a>> {
        per.iter().map(|dimension| match (dimension, self.key) {
            (Dimension::Ip, _) | (Dimension::Key, None) => Part::Address(self.ip),
            (Dimension::Key, Some(key)) => Part::Key(key),
            (Dimension::Model, _) => Part::Model(self.model),
            (Dimension::Deployment, _) => Part::Model(self.deployment.unwrap_or(self.model)),
            (Dimension::Endpoint, _) => Part::Path(self.path),
            (Dimension::Global, _) => Part::Global,
        })
    }
}

/// One part of what a bucket is for.
#[derive(Clone, Copy, Hash)]
pub(super) enum Part<'a> {
    Address(IpAddr),
    Key(&'a str),
    Model(&'a str),
    Path(&'a str),
    Global,
}

#[cfg(test)]
mod tests {
    use super::{
        super::tests::{ask, limits, passes},
        *,
    };
    use crate::traffic::limit::LimitSpec;

    #[test]
    fn who_has_a_quota_of_their_own() {
        let one = |per: &[Dimension]| LimitSpec { per: per.to_vec(), ..LimitSpec::rpm(1) };
        let other: [(Dimension, fn() -> LimitRequest<'static>); 5] = [
            (Dimension::Ip, || ask(2)),
            (Dimension::Key, || LimitRequest { key: Some("sk-2"), ..ask(1) }),
            (Dimension::Model, || LimitRequest { model: "o3", ..ask(1) }),
            (Dimension::Deployment, || LimitRequest { deployment: Some("mine"), ..ask(1) }),
            (Dimension::Endpoint, || LimitRequest { path: "/v2", ..ask(1) }),
        ];
        for (dimension, other_ask) in &other {
            let (limits, _) = limits(&[one(&[*dimension])], false);
            assert!(passes(&limits, &ask(1)) && !passes(&limits, &ask(1)), "{dimension:?}");
            assert!(passes(&limits, &other_ask()), "{dimension:?} tells them apart");
        }
        let (limits, _) = limits(&[one(&[Dimension::Global])], false);
        assert!(passes(&limits, &ask(1)));
        for (dimension, other_ask) in &other {
            assert!(!passes(&limits, &other_ask()), "{dimension:?} is nothing to a limit for all");
        }
    }
}
