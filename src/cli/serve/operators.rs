//! What the admin listener shows of the running process: readiness, the state of dependencies, and gauges.
//! It must not know pages.
//! It promises that nothing here calls a storage or a key service, except for an assessment that is due.

use super::gauges::Gauges;
use crate::admin::{Health, Problem, Reports, Source};
use crate::audit::{Audit, Condition};
use crate::cli::readiness::Readiness;
use crate::service::Service;

/// The sources of what operators see.
pub struct Operators {
    readiness: Readiness,
    audit: Option<Audit>,
    gauges: Gauges,
}

impl Operators {
    /// The sources of a process with this readiness, audit log and service.
    pub fn new(readiness: Readiness, audit: Option<Audit>, service: Service) -> Self {
        Self { readiness, audit, gauges: Gauges::new(service) }
    }

    /// Adds the state of the audit log: other replicas may have a disk with room.
    fn with_audit(&self, mut health: Health) -> Health {
        let problem = || Problem { component: "audit", message: "the audit log can't be written".to_owned() };
        match self.audit.as_ref().map(Audit::condition) {
            Some(Condition::Refusing) => health.problems.push(problem()),
            Some(Condition::Failing) => health.degraded.push(problem()),
            Some(Condition::Well) | None => {}
        }
        health
    }
}

impl Source for Operators {
    async fn health(&self) -> Health {
        self.with_audit(self.readiness.health().await)
    }

    fn known_health(&self) -> Health {
        self.with_audit(self.readiness.known())
    }

    fn reports(&self) -> Reports {
        self.readiness.reports()
    }

    async fn set_gauges(&self) {
        self.gauges.set().await;
    }
}
