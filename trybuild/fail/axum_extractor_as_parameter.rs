#[derive(serde::Serialize, serde::Deserialize)]
struct Json<T>(T);

#[retry_runtime::function]
async fn create(Json(name): Json<String>) -> String {
    name
}

fn main() {
    println!("{}", create.remote(Json("a".into())).wait().unwrap());
}
