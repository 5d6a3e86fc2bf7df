//! Calls that wait for the end of a task which was submitted before, here or in another program.

use std::collections::VecDeque;

use super::answers::answer_of;
use super::{Action, Tasks};
use crate::api::call_id::{CallId, CallNumber};
use crate::api::context::short_name;
use crate::api::engine::{TaskEnd, TaskId};
use crate::api::failure::{Cancelled, Lost, Rejected};
use crate::codec::payload::Payload;
use crate::function::registry::Registration;
use crate::job::Job;
use crate::job::outcome::{Failure, History, Outcome};
use crate::wire::task::{self, Answer};

/// A call that waits for the end of a task which was submitted before.
pub(super) struct Attached {
    /// The id of the task, and the number of its call in the run that has made it.
    pub(super) id: TaskId,
    original: CallNumber,
    /// The number by which the call is known here.
    pub(super) call: CallNumber,
    registration: &'static Registration,
    pub(super) job: Job,
    pub(super) is_cancelled: bool,
    /// Set once the engine was asked for the end of the task.
    is_asked: bool,
}

impl Tasks {
    /// Begins to wait for the end of a call that was spawned before, here or in another program.
    pub(crate) fn attach(
        &mut self,
        registration: &'static Registration,
        original: CallId,
        job: Job,
    ) -> CallNumber {
        let (number, call) = (self.numbers.take_task(), self.numbers.take_calls(1));
        let id = TaskId::of_call(original);
        let attached = Attached {
            id: id.clone(),
            original: original.number,
            call,
            registration,
            job,
            is_cancelled: false,
            is_asked: false,
        };
        if self.is_closed {
            attached.resolve(
                &mut self.actions,
                Err(Failure::Rejected(Rejected::ShutDown)),
                None,
            );
            return call;
        }
        self.attached.insert(number, attached);
        // The engine does not know a task that has just been made here.
        let own = self.calls.get(&original.number);
        let own = own.filter(|_| original.run() == self.settings.run);
        let task = own.map(|call| call.task.and_then(|number| self.tasks.get(&number)));
        if task.is_none_or(|task| task.is_some_and(|task| task.is_accepted)) {
            self.ask_for(&id);
        }
        call
    }

    /// Asks the engine for the end of a task to which calls of this program are attached.
    pub(super) fn ask_for(&mut self, id: &TaskId) {
        for (number, attached) in &mut self.attached {
            if attached.id == *id && !std::mem::replace(&mut attached.is_asked, true) {
                let (number, id) = (*number, id.clone());
                // The engine did not know the task when the call was cancelled.
                let cancel = attached.is_cancelled.then(|| Action::Cancel(id.clone()));
                self.actions.push_back(Action::Attach { number, id });
                self.actions.extend(cancel);
            }
        }
    }
}

impl Attached {
    pub(super) fn end(self, actions: &mut VecDeque<Action>, end: TaskEnd) {
        // The call may have had another deadline than its function.
        let bytes = answer_of(end, self.registration.spec.deadline);
        let (result, history) = match bytes.and_then(|bytes| self.outcome(bytes)) {
            Ok(outcome) if self.is_cancelled => (
                Err(Failure::Cancelled(Cancelled::ByCaller)),
                outcome.history,
            ),
            Ok(outcome) => (outcome.result, outcome.history),
            Err(failure) => (Err(failure), None),
        };
        self.resolve(actions, result, history);
    }

    /// Reads the outcome of the call from the answer to its task.
    fn outcome(&self, bytes: Vec<u8>) -> Result<Outcome, Failure> {
        let protocol = |reason: String| {
            Failure::Lost(Lost::Protocol {
                reason: reason.into(),
            })
        };
        let (answer, mut payload) = task::decode::<Answer>(bytes).map_err(protocol)?;
        if let Some(problem) = answer.problem {
            return Err(protocol(problem));
        }
        let own = self.registration.spec.name;
        if answer.function != own {
            let (its, own) = (short_name(&answer.function), short_name(own));
            let reason = format!("{} is a call of `{its}`, not of `{own}`", self.id);
            return Err(Failure::Rejected(Rejected::Engine(reason.into())));
        }
        let mut replies = answer.replies.into_iter();
        match (replies.next(), replies.next()) {
            (Some(reply), None) if (reply.number, reply.count) == (0, 1) => {
                let outcome = reply.take(&mut payload).map_err(protocol)?;
                match &outcome.result {
                    Err(Failure::HandedBack(_)) => Err(Failure::Lost(Lost::handed_back())),
                    _ => Ok(outcome),
                }
            }
            _ => Err(protocol("an answer to other calls".to_owned())),
        }
    }

    pub(super) fn resolve(
        self,
        actions: &mut VecDeque<Action>,
        result: Result<Payload, Failure>,
        history: Option<Box<History>>,
    ) {
        let outcome = Outcome {
            call: self.original,
            result,
            history,
        };
        let job = self.job;
        actions.push_back(Action::Resolve { job, outcome });
    }
}
