//! How long the ops listener took to answer, by route. Counted on the main thread alone, as everything of that listener.

use std::{sync::Arc, time::Instant};

use axum::{
    extract::{MatchedPath, Request, State},
    http::StatusCode,
    middleware::Next,
    response::Response,
};

use crate::telemetry::{Counter, Distribution, Histogram, SHORT_TIMES, Sample};

/// What is asked of a listener for operators. Whatever else is, counts as `other`.
const ROUTES: [&str; 11] = [
    "/metrics",
    "/livez",
    "/readyz",
    "/api/v1/publish",
    "/api/v1/nodes",
    "/api/v1/sockets",
    "/api/v1/sockets/join",
    "/api/v1/sockets/leave",
    "/api/v1/sockets/disconnect",
    "/api/v1/revocations",
    "/api/v1/log-level",
];
const OTHER: &str = "other";
/// The classes of statuses that the ops API answers with.
const CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

/// See the module.
#[derive(Debug)]
pub(crate) struct RequestTimes {
    by_route: Vec<(&'static str, Histogram)>,
    by_class: [Counter; CLASSES.len()],
}

impl Default for RequestTimes {
    fn default() -> Self {
        let routes = ROUTES.into_iter().chain([OTHER]);
        let by_route = routes.map(|route| (route, Histogram::new(&SHORT_TIMES))).collect();
        Self { by_route, by_class: Default::default() }
    }
}

impl RequestTimes {
    fn observe(&self, route: Option<&str>, status: StatusCode, began: Instant) {
        let known = self.by_route.iter().find(|(known, _)| Some(*known) == route).or(self.by_route.last());
        if let Some((_, histogram)) = known {
            histogram.observe(u64::try_from(began.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        let class = usize::from(status.as_u16() / 100).checked_sub(2);
        if let Some(counter) = class.and_then(|class| self.by_class.get(class)) {
            counter.add(1);
        }
    }

    pub(super) fn durations(&self) -> Vec<(&'static str, Distribution)> {
        self.by_route.iter().map(|(route, histogram)| (*route, histogram.values())).collect()
    }

    pub(super) fn classes(&self) -> [Sample; CLASSES.len()] {
        std::array::from_fn(|index| (CLASSES[index], self.by_class[index].get()))
    }
}

/// Measures a request; for [`axum::middleware::from_fn_with_state`].
pub(super) async fn measure(
    State(times): State<Arc<RequestTimes>>,
    request: Request,
    next: Next,
) -> Response {
    let began = Instant::now();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let response = next.run(request).await;
    times.observe(route.as_ref().map(MatchedPath::as_str), response.status(), began);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_the_listener_is_known() {
        let routes: Vec<_> = include_str!("mod.rs")
            .split(".route(\"")
            .skip(1)
            .filter_map(|rest| rest.split('"').next())
            .collect();
        assert!(routes.len() > 5, "{routes:?}");
        for route in routes {
            assert!(ROUTES.contains(&route), "{route} is not in ROUTES");
        }
    }

    #[test]
    fn a_route_that_is_not_known_counts_as_another() {
        let times = RequestTimes::default();
        for (route, status) in
            [(Some("/livez"), 200), (Some("/api/v1/later"), 404), (None, 404), (Some("/livez"), 503)]
        {
            times.observe(route, StatusCode::from_u16(status).unwrap(), Instant::now());
        }
        let counts: Vec<_> =
            times.durations().iter().map(|(route, values)| (*route, values.count())).collect();
        assert!(counts.contains(&("/livez", 2)) && counts.contains(&(OTHER, 2)), "{counts:?}");
        assert_eq!(times.classes(), [("2xx", 1), ("3xx", 0), ("4xx", 2), ("5xx", 1)]);
    }
}
