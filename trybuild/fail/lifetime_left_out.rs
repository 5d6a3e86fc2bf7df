//! A user's type with a lifetime that is left out, in each place of a signature.

use std::borrow::Cow;

use retry_runtime::function;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Packet<'a> {
    data: &'a [u8],
}

type Text<'a> = Cow<'a, str>;

#[function]
fn length(packet: Packet) -> usize {
    packet.data.len()
}

#[function]
async fn alias(text: Text, other: u32) -> usize {
    text.len() + other as usize
}

#[function(retries = 3)]
fn inside(packets: Vec<Packet>, name: &str) -> usize {
    packets.len() + name.len()
}

#[function]
fn referred(packet: &Packet) -> usize {
    packet.data.len()
}

#[function]
fn result(data: &[u8]) -> Result<Packet, std::io::Error> {
    Ok(Packet { data })
}

fn main() {
    let data = [1, 2];
    let packet = || Packet { data: &data };
    let _ = length.remote(packet()).wait();
    let _ = alias.remote("a".into(), 1);
    let _ = inside.map([(vec![packet()], "b")]);
    let _ = referred.remote(&packet()).wait();
    let _ = result.remote(&data).wait();
}
