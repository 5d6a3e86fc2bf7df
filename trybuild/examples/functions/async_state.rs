//! Types that async functions may hold across `await`, and functions that create and close their states.
#![deny(warnings)]
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use retry_runtime::{function, service};

/// Neither `Send` nor `Sync`.
type State = Rc<RefCell<Vec<u8>>>;

async fn connect() -> State {
    Rc::default()
}

async fn try_connect() -> Result<State, std::io::Error> {
    Ok(Rc::default())
}

async fn disconnect(state: State) {
    drop(state);
}

fn disconnect_later(state: State) -> Pin<Box<dyn Future<Output = ()>>> {
    Box::pin(async move { drop(state) })
}

#[function(setup = connect, teardown = disconnect, concurrency = 4)]
async fn shared(state: &State, text: &str) -> usize {
    let mine = Rc::clone(state);
    std::future::ready(()).await;
    mine.borrow().len() + text.len()
}

#[function(setup = try_connect, teardown = disconnect_later)]
async fn changed(state: &mut State, one: u8) {
    let cell = Cell::new(one);
    std::future::ready(()).await;
    state.borrow_mut().push(cell.take());
}

#[function(setup = connect, teardown = |state| drop(state))]
fn blocks(state: &State) -> usize {
    state.borrow().len()
}

#[function(setup = async || 1_u64, teardown = async |_| ())]
async fn closures(state: &u64) -> u64 {
    *state
}

/// Calls itself while it holds a value that is not `Send`.
#[function]
async fn again(depth: u32) -> u32 {
    let below = Rc::new(Cell::new(0));
    if depth > 0 {
        below.set(again(depth - 1).await + again.remote(depth - 1).await.unwrap());
    }
    below.get() + 1
}

#[function]
async fn sendable(number: u64) -> u64 {
    std::future::ready(number).await
}

struct Local(State);

#[service(concurrency = 4)]
impl Local {
    #[setup]
    async fn new(name: String) -> Result<Self, String> {
        std::future::ready(()).await;
        let bytes = RefCell::new(name.into_bytes());
        Ok(Self(Rc::new(bytes)))
    }

    #[method]
    async fn push(&self, byte: u8) -> usize {
        let all = Rc::clone(&self.0);
        std::future::ready(()).await;
        all.borrow_mut().push(byte);
        all.borrow().len()
    }

    #[method]
    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    #[teardown]
    async fn close(self) {
        std::future::ready(()).await;
    }
}

fn is_send<T: Send>(value: T) -> T {
    value
}

pub(crate) fn main() {
    let _ = shared.remote("a");
    let _ = changed.remote(1);
    let _ = blocks.remote();
    let _ = closures.remote();
    let _ = again.remote(1);
    let _ = Local::with("a".to_owned()).push.remote(1);
    let _ = is_send(async { sendable(1).await + sendable.local(1).await });
    let state = State::default();
    let _ = changed(&mut state.clone(), 1);
    let _ = shared.local(&state, "a");
}
