//! The next task of a function: whose calls it has, how many, and when it is sent.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Action, Call, LAST_WORD, Line, PoolKey, Tasks, Terms, UnderWay};
use crate::api::call_id::CallNumber;
use crate::api::context::short_name;
use crate::api::engine::{Queue, Task, TaskId};
use crate::fleet::sizing::Sizing;
use crate::function::registry::Registration;
use crate::job::parts::Parts;
use crate::job::resumption::Resumption;
use crate::wire::message::{Calls, Item};
use crate::wire::task::{self, Allowance, Body};

/// The time for which a task waits to become full.
const FILL_TIME: Duration = Duration::from_millis(5);

/// The number of bytes of inputs of a task.
const TASK_BYTES: usize = 1024 * 1024;

/// The calls of a task that is about to be sent.
struct Filled {
    registration: &'static Registration,
    terms: Arc<Terms>,
    items: Vec<Item>,
    /// The inputs of all items.
    payload: Vec<u8>,
    /// The calls by their first numbers, with the count of each, in the order of the items.
    calls: Vec<(CallNumber, u32)>,
    /// The number of inputs.
    count: u32,
    delay: Duration,
    deadline: Option<Instant>,
    /// The call that gives the task its id.
    of_call: Option<CallNumber>,
}

impl Filled {
    fn of(call: &Call) -> Self {
        Self {
            registration: call.registration,
            terms: Arc::clone(&call.terms),
            items: Vec::new(),
            payload: Vec::new(),
            calls: Vec::new(),
            count: 0,
            delay: Duration::ZERO,
            deadline: None,
            of_call: None,
        }
    }

    /// Adds a chunk of `count` calls.
    fn add(&mut self, now: Instant, id: CallNumber, count: u32, call: &mut Call) {
        let is_first = !std::mem::replace(&mut call.was_sent, true);
        self.of_call = (call.terms.is_detached && is_first).then_some(id);
        let resumption = call.resumption(now);
        self.delay = resumption.as_ref().map_or(self.delay, |one| one.delay);
        self.deadline = call.deadline;
        let (index, input) = (call.job.index, &call.job.input);
        let item = Item::put(self.count, index, input, resumption, &mut self.payload);
        self.items.push(item);
        self.calls.push((id, count));
        self.count += count;
    }
}

impl Tasks {
    /// Returns how many inputs a task of a function has at present, and how many tasks may be under way.
    pub(crate) fn ahead(&self, pool: &PoolKey) -> (usize, usize) {
        let known = self.pools.get(pool);
        known.map_or((1, 1), |pool| {
            (
                pool.sizing.inputs() as usize,
                pool.sizing.tasks(Duration::ZERO),
            )
        })
    }

    /// Sends what is queued for a function, as far as it should be sent now.
    pub(crate) fn dispatch(&mut self, now: Instant, pool: &PoolKey) {
        while let Some(most) = self.next_size(now, pool) {
            self.send(now, pool, most);
        }
        if let Some(known) = self.pools.get(pool)
            && known.lines.is_empty()
            && known.tasks == 0
            && pool.1.is_some()
        {
            // There may be any number of configurations.
            self.pools.remove(pool);
        }
    }

    /// Chooses the caller that is next, and returns how many inputs its task has; `None` if none is to be sent now.
    fn next_size(&mut self, now: Instant, pool: &PoolKey) -> Option<u32> {
        let most_inputs = self.settings.most_inputs();
        let (calls, holds) = (&self.calls, &self.holds);
        let pool = self.pools.get_mut(pool)?;
        let is_queued = |id: &CallNumber| calls.get(id).is_some_and(|call| call.task.is_none());
        for line in &mut pool.lines {
            while line.calls.pop_front_if(|id| !is_queued(id)).is_some() {}
        }
        pool.lines.retain(|line| !line.calls.is_empty());
        pool.look_at = None;
        if pool.lines.is_empty() {
            return None;
        }
        let silent = now.saturating_duration_since(pool.silent_since);
        let busy = pool.tasks - pool.delayed;
        if busy >= pool.sizing.tasks(silent) {
            pool.look_at = pool.silent_since.checked_add(Sizing::more_after(silent));
            return None;
        }
        for turn in 0..pool.lines.len() {
            let line = &mut pool.lines[turn];
            let plenty = pool.sizing.plenty(busy);
            let inputs = match line.left(calls, plenty) {
                Some(left) => pool.sizing.inputs_of(left, busy),
                None => pool.sizing.inputs(),
            };
            let inputs = inputs.min(most_inputs);
            let held = holds.iter().find(|(caller, _)| *caller == line.caller);
            let most = match held {
                None => line.most(calls, inputs),
                Some((_, except)) if line.bring_forward(calls, *except) => Some(1),
                Some(_) => continue,
            };
            let most = match most {
                Some(most) => most,
                None => {
                    let full_at = calls[&line.calls[0]].queued + FILL_TIME;
                    if busy > 0 && now < full_at {
                        let look_at = pool.look_at.into_iter().chain([full_at]).min();
                        pool.look_at = look_at;
                        continue;
                    }
                    inputs
                }
            };
            pool.lines.rotate_left(turn);
            return Some(most);
        }
        None
    }

    fn send(&mut self, now: Instant, key: &PoolKey, most: u32) {
        let number = self.numbers.take_task();
        let Some(mut filled) = self.fill(now, key, number, most) else {
            return;
        };
        let Some(pool) = self.pools.get_mut(key) else {
            return;
        };
        // Tasks with a delay wait for no machine.
        if pool.tasks == pool.delayed {
            pool.silent_since = now;
            pool.ask_after(now);
        }
        pool.tasks += 1;
        pool.delayed += usize::from(!filled.delay.is_zero());
        let budget = filled.terms.budget.as_ref();
        let lent = budget.map_or(0, |budget| budget.lend(filled.count));
        let task = self.task(now, key, number, lent, &mut filled);
        let under_way = UnderWay {
            pool: key.clone(),
            id: task.id.clone(),
            calls: filled.calls,
            terms: filled.terms,
            lent,
            delay: filled.delay,
            due: now.checked_add(filled.delay).unwrap_or(now),
            is_cancelled: false,
            is_accepted: false,
        };
        self.tasks.insert(number, under_way);
        self.actions.push_back(Action::Submit { number, task });
    }

    /// Takes the calls of the next task of a function out of its queue: those of the caller that is next, as far as
    /// they may travel together.
    fn fill(&mut self, now: Instant, key: &PoolKey, number: u64, most: u32) -> Option<Filled> {
        let config = key.1.as_ref().map_or(0, |config| config.len());
        let most_bytes = TASK_BYTES.min((self.settings.max_body / 2).saturating_sub(config));
        let pool = self.pools.get_mut(key)?;
        let mut line = pool.lines.pop_front()?;
        let mut filled: Option<Filled> = None;
        while let count = filled.as_ref().map_or(0, |filled| filled.count)
            && count < most
            && let Some(id) = line.calls.front().copied()
        {
            let Some(call) = self.calls.get(&id).filter(|call| call.task.is_none()) else {
                line.calls.pop_front();
                continue;
            };
            if let Some(filled) = &filled
                && !call.joins(&self.calls[&filled.calls[0].0])
            {
                break;
            }
            let filled_bytes = filled.as_ref().map_or(0, |filled| filled.payload.len());
            let fits = call.inputs_within(most_bytes.saturating_sub(filled_bytes));
            if fits == 0 && count > 0 {
                break;
            }
            let take = call.job.count().min(most - count).min(fits.max(1));
            line.calls.pop_front();
            if take < call.job.count() {
                let rest = split(&mut self.calls, id, take);
                line.calls.push_front(rest);
            }
            let Some(call) = self.calls.get_mut(&id) else {
                continue;
            };
            call.task = Some(number);
            let filled = filled.get_or_insert_with(|| Filled::of(call));
            filled.add(now, id, take, call);
        }
        if !line.calls.is_empty() {
            pool.lines.push_back(line);
        }
        filled
    }

    fn task(
        &self,
        now: Instant,
        key: &PoolKey,
        number: u64,
        lent: u64,
        filled: &mut Filled,
    ) -> Task {
        let terms = &filled.terms;
        let mut body = Body {
            calls: Calls {
                function: filled.registration.spec.name.to_owned(),
                config: key.1.as_deref().map(<[u8]>::to_vec),
                policy: terms.policy,
                items: std::mem::take(&mut filled.items),
            },
            allowance: terms.budget.as_ref().map(|budget| Allowance {
                ratio: budget.ratio(),
                retries: lent,
            }),
            host_timeout: self.settings.host_timeout,
            max_body: self.settings.max_body as u64,
        };
        let id = match filled.of_call {
            // A program that has the id of the call finds the task by it.
            Some(call) => TaskId::of_call(call.of(self.settings.run)),
            None => TaskId::new(&format!("{}/t{number}", self.settings.run)),
        };
        let queue = Queue::new(key.0, self.settings.version);
        let mut bytes = task::encode(&body, &filled.payload);
        if bytes.len() > self.settings.max_body {
            // The texts of earlier attempts may be large.
            let resumptions = body.calls.items.iter_mut();
            for resumption in resumptions.filter_map(|item| item.resumption.as_mut()) {
                **resumption = resumption.numbers();
            }
            bytes = task::encode(&body, &filled.payload);
        }
        let mut task = Task::new(id, queue, bytes, self.settings.host_timeout);
        task.label = self.calls[&filled.calls[0].0].label(filled.count);
        task.delay = filled.delay;
        task.detached = terms.is_detached;
        let slack = LAST_WORD.saturating_add(self.settings.host_timeout);
        let left = filled.deadline.map(|at| at.saturating_duration_since(now));
        task.deadline = left.map(|left| left.saturating_add(slack));
        task
    }
}

impl Line {
    /// Returns how many inputs of its map are not sent yet, if it is known. Counts no further than to `plenty`.
    fn left(&self, calls: &BTreeMap<CallNumber, Call>, plenty: u64) -> Option<u64> {
        let mut left = self.to_come?;
        let queued = self.calls.iter().filter_map(|id| calls.get(id));
        for call in queued.filter(|call| call.task.is_none()) {
            if left >= plenty {
                break;
            }
            left += u64::from(call.job.count());
        }
        Some(left)
    }

    /// Returns how many inputs a task has that is full; `None` if it could have more of them.
    fn most(&self, calls: &BTreeMap<CallNumber, Call>, inputs: u32) -> Option<u32> {
        let first = &calls[&self.calls[0]];
        if first.travels_alone() {
            return Some(1);
        }
        let mut count = 0;
        let queued = self.calls.iter().filter_map(|id| calls.get(id));
        for call in queued.take_while(|call| call.joins(first)) {
            count += call.job.count();
            if count >= inputs {
                return Some(inputs);
            }
        }
        None
    }

    /// Moves the input with this index to the front. Returns false if it is not there.
    fn bring_forward(&mut self, calls: &BTreeMap<CallNumber, Call>, index: Option<u64>) -> bool {
        // Inputs of a chunk are in their order, and the consumer waits for the first of those that are queued.
        let is_it = |id: &CallNumber| {
            let call = calls.get(id).filter(|call| call.task.is_none());
            index.is_some() && call.is_some_and(|call| call.job.index == index)
        };
        let Some(place) = self.calls.iter().position(is_it) else {
            return false;
        };
        if let Some(id) = self.calls.remove(place) {
            self.calls.push_front(id);
        }
        true
    }
}

impl Call {
    /// Returns whether the call has a task of its own: a machine may hand it back with a delay or lose it, without
    /// consequences for others.
    pub(super) fn travels_alone(&self) -> bool {
        self.job.index.is_none() || self.terms.policy.at_most_once || self.resumption.is_some()
    }

    /// Returns whether the call may be in a task that begins with another one.
    fn joins(&self, first: &Self) -> bool {
        let budget = |one: &Self| one.terms.budget.as_ref().map(Arc::as_ptr);
        self.job.caller == first.job.caller
            && self.registration.spec.name == first.registration.spec.name
            && self.terms.policy == first.terms.policy
            && budget(self) == budget(first)
            && !self.travels_alone()
    }

    /// Returns how many of the inputs have no more bytes than these, if they are of similar size.
    fn inputs_within(&self, bytes: usize) -> u32 {
        let (count, size) = (self.job.count(), self.job.input.bytes().len());
        match size <= bytes {
            true => count,
            false => {
                let fit = u64::from(count) * bytes as u64 / size as u64;
                u32::try_from(fit).unwrap_or(count).min(count)
            }
        }
    }

    /// Returns the state in which the call is sent, if there is any.
    fn resumption(&self, now: Instant) -> Option<Box<Resumption>> {
        let mut resumption = self.resumption.clone();
        if let Some(resumption) = &mut resumption {
            resumption.pass(now.saturating_duration_since(self.queued));
        }
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(now);
            resumption.get_or_insert_default().left = Some(left);
        }
        resumption
    }

    fn label(&self, count: u32) -> String {
        let name = short_name(self.registration.spec.name);
        match self.job.index {
            None => name.to_owned(),
            Some(index) if count == 1 => format!("{name}[{index}]"),
            Some(index) => format!("{name}[{index}..{}]", index + u64::from(count)),
        }
    }
}

/// Splits a chunk after some calls, and returns the number of the first call of the rest.
pub(super) fn split(
    calls: &mut BTreeMap<CallNumber, Call>,
    id: CallNumber,
    count: u32,
) -> CallNumber {
    let rest = CallNumber(id.0 + u64::from(count));
    if let Some(call) = calls.get_mut(&id) {
        let front = call.job.split_front(count);
        let back = Call {
            pool: call.pool.clone(),
            registration: call.registration,
            terms: Arc::clone(&call.terms),
            job: std::mem::replace(&mut call.job, front),
            resumption: None,
            queued: call.queued,
            deadline: call.deadline,
            task: call.task,
            was_sent: call.was_sent,
        };
        calls.insert(rest, back);
    }
    rest
}
