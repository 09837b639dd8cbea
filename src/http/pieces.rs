//! A body as it comes off the wire, whatever it holds: bounded in size, and in how long each piece of it may take.

use std::time::Duration;

use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, header},
};
use http_body_util::BodyExt;

use crate::errors::{ApiError, ApiResult, Code};

/// The longest wait for the next piece of a body.
const PIECE_DEADLINE: Duration = Duration::from_secs(30);

/// A body as it comes, with a bound and a deadline for each piece.
#[derive(Debug)]
pub struct Pieces {
    body: Body,
    limit: usize,
    seen: usize,
}

impl Pieces {
    /// Of a body of at most `limit` bytes.
    ///
    /// # Errors
    /// `payload_too_large` where a greater length is announced.
    pub fn of(headers: &HeaderMap, body: Body, limit: usize) -> ApiResult<Self> {
        let announced = headers
            .get(header::CONTENT_LENGTH)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.parse::<u64>().ok());
        let limit_bytes = u64::try_from(limit).unwrap_or(u64::MAX);
        if announced.is_some_and(|length| length > limit_bytes) {
            return Err(too_large(limit));
        }
        Ok(Self { body, limit, seen: 0 })
    }

    /// The next piece; `None` behind the last.
    ///
    /// # Errors
    /// `payload_too_large` above the limit; `bad_request` when the body breaks off or nothing arrives for 30 seconds.
    pub async fn next(&mut self) -> ApiResult<Option<Bytes>> {
        loop {
            let piece = tokio::time::timeout(PIECE_DEADLINE, self.body.frame())
                .await
                .map_err(|_| ApiError::bad_request("The body arrived too slowly"))?;
            let Some(frame) = piece else { return Ok(None) };
            let frame = frame.map_err(|error| {
                ApiError::bad_request("The body could not be read").cause(error.to_string())
            })?;
            // A frame that is no data is a trailer, which says nothing here.
            if let Ok(data) = frame.into_data() {
                self.seen = self.seen.saturating_add(data.len());
                return if self.seen > self.limit { Err(too_large(self.limit)) } else { Ok(Some(data)) };
            }
        }
    }
}

fn too_large(limit: usize) -> ApiError {
    let mebibytes = limit >> 20;
    ApiError::new(Code::PayloadTooLarge).message(format!("The body is larger than {mebibytes} MiB"))
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

    use futures_util::stream;

    use super::*;
    use crate::imports::MOST_BYTES;

    const MEBIBYTE: usize = 1 << 20;

    /// The same mebibyte so many times, and then some bytes.
    fn table(mebibytes: usize, rest: usize) -> Body {
        let piece = Bytes::from(vec![b'x'; MEBIBYTE]);
        let last = piece.slice(..rest);
        let pieces = (0..mebibytes).map(move |_| piece.clone()).chain([last]);
        Body::from_stream(stream::iter(pieces.map(Ok::<_, std::convert::Infallible>)))
    }

    #[tokio::test]
    async fn five_hundred_and_twelve_mebibytes_come_through_and_no_byte_more() {
        for (rest, comes_through) in [(0, true), (1, false)] {
            let mut pieces = Pieces::of(&HeaderMap::new(), table(512, rest), MOST_BYTES).unwrap();
            let (mut seen, mut refused) = (0, None);
            loop {
                match pieces.next().await {
                    Ok(Some(piece)) => seen += piece.len(),
                    Ok(None) => break,
                    Err(error) => {
                        refused = Some(error.code);
                        break;
                    }
                }
            }
            assert_eq!(seen, 512 * MEBIBYTE);
            assert_eq!(refused, (!comes_through).then_some(Code::PayloadTooLarge));
        }
    }

    #[tokio::test]
    async fn what_is_announced_as_too_large_is_refused_before_it_comes() {
        let announced = |length: &str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, length.parse().unwrap())]);
            Pieces::of(&headers, Body::empty(), MOST_BYTES).map(|_| ()).map_err(|error| error.code)
        };
        assert_eq!(announced("536870912"), Ok(()));
        assert_eq!(announced("536870913"), Err(Code::PayloadTooLarge));
        assert_eq!(announced("18446744073709551615"), Err(Code::PayloadTooLarge));
    }
}
