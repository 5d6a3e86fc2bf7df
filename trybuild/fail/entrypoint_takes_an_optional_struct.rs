#[derive(Clone)]
struct Endpoint;

#[retry_runtime::local_entrypoint]
fn main(limit: u64, endpoints: Option<Vec<Endpoint>>) {
    let _ = (limit, endpoints);
}
