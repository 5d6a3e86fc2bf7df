use std::rc::Rc;

#[retry_runtime::local_entrypoint]
fn main(name: Option<Rc<str>>) {
    let _ = name;
}
