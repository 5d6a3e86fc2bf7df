//! Decodes the answers of workers.

use std::time::Duration;

use bytes::{Buf, Bytes};

use crate::api::failure::{Lost, Panic, Rejected};
use crate::api::retryable::Retry;
use crate::codec;
use crate::codec::payload::Payload;
use crate::scheduler::Answer;
use crate::wire::frame::{AnswerHeader, Kind};

/// Decodes the answer of a worker. `limit` is the maximum message size that errors report. An error
/// is a breach of the protocol.
pub(crate) fn decode_answer(
    header: &AnswerHeader,
    payload: Bytes,
    limit: usize,
) -> Result<Answer, String> {
    Ok(match header.kind {
        Kind::Ok => Answer::Ok(Payload::One(payload)),
        Kind::Err | Kind::FinalErr => Answer::Err {
            error: payload,
            retry: if header.kind == Kind::Err {
                Retry::Default
            } else {
                Retry::No
            },
        },
        Kind::ErrAfter => {
            let mut error = payload;
            let Ok(nanos) = error.try_get_u64_le() else {
                return Err("an error without its delay".to_owned());
            };
            Answer::Err {
                error,
                retry: Retry::After(Duration::from_nanos(nanos)),
            }
        }
        Kind::Aborted => Answer::Aborted,
        Kind::WrongLength => {
            let mut numbers = payload;
            let mut number = || numbers.try_get_u64_le().map_err(|error| error.to_string());
            let (inputs, results) = (number()?, number()?);
            Answer::Lost(Lost::WrongLength { inputs, results })
        }
        Kind::ErrTooLarge => {
            let mut payload = payload;
            let size = payload
                .try_get_u64_le()
                .map_err(|error| error.to_string())?;
            Answer::Lost(Lost::ErrorTooLarge { size, limit })
        }
        Kind::Panicked => match codec::decode_all::<Panic>(&payload) {
            Ok(panic) => Answer::Panicked(panic),
            Err(error) => return Err(format!("a panic that cannot be decoded: {error}")),
        },
        Kind::NotDecodable => {
            let answer = String::from_utf8_lossy(&payload);
            let Some((parameter, reason)) = answer.split_once('\n') else {
                return Err("arguments without a reason".to_owned());
            };
            Answer::Rejected(Rejected::NotDecodable {
                parameter: parameter.into(),
                reason: reason.into(),
            })
        }
        Kind::NotEncodable => Answer::Lost(Lost::NotEncodable {
            reason: text(&payload),
        }),
        Kind::TooLarge => Answer::Lost(Lost::TooLarge { limit }),
        Kind::Hello
        | Kind::Ready
        | Kind::SetUpFailed
        | Kind::OutOfMemory
        | Kind::ErrText
        | Kind::Printed => {
            return Err("a message that is no answer".to_owned());
        }
    })
}

/// Returns a payload as text.
pub(crate) fn text(payload: &[u8]) -> Box<str> {
    String::from_utf8_lossy(payload).into()
}
