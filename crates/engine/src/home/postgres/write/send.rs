//! Requests that go out now and are answered later, so that several share one round trip.

use futures_util::future::{MaybeDone, maybe_done};
use std::future::Future;
use std::pin::Pin;

/// A request on its way.
pub(super) struct Sent<F: Future>(Pin<Box<MaybeDone<F>>>);

/// Polls a request once, which puts it into the connection's queue. Requests are answered in the order in which they were
/// sent; one that is dropped is still carried out.
pub(super) async fn send<F: Future>(request: F) -> Sent<F> {
    let mut request = Box::pin(maybe_done(request));
    let _ = futures_util::poll!(request.as_mut());
    Sent(request)
}

impl<F: Future> Sent<F> {
    /// The answer.
    pub async fn answer(mut self) -> F::Output {
        self.0.as_mut().await;
        self.0.as_mut().take_output().expect("a request that is done has its answer, which is taken once")
    }
}
