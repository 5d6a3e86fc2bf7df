//! The report of a run with failures, in headless Chromium: its numbers, what it shows under the mouse, and its
//! layout on a desktop and on a phone.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use fantoccini::actions::{InputSource, MouseActions, PointerAction};
use fantoccini::elements::Element;
use fantoccini::{Client, ClientBuilder, Locator};
use hyper_util::client::legacy::connect::HttpConnector;
use serde_json::{Value, json};

/// The number of inputs of the run, and of those that end without a result.
const PAGES: u64 = 6_000;
const FAILED: u64 = 19;

/// The time within which something appears.
const LIMIT: Duration = Duration::from_secs(60);

/// Chromium's driver, which ends with this value.
struct Driver {
    process: Child,
    port: u16,
}

impl Driver {
    fn start() -> Self {
        let mut process = Command::new("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .spawn()
            .expect("chromedriver is installed");
        let mut lines = BufReader::new(process.stdout.take().expect("a pipe")).lines();
        let port = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let (_, port) = line.split_once("started successfully on port ")?;
                port.trim_end_matches('.').parse().ok()
            })
            .expect("the driver says its port");
        // The driver must not be blocked by what it prints.
        std::thread::spawn(move || lines.for_each(drop));
        Self { process, port }
    }

    /// Opens a page in a browser whose window is this wide; a narrow one is that of a phone.
    async fn open(&self, width: u32, page: &Path) -> Client {
        let size = format!("--window-size={width},900");
        let mut options = json!({
            "args": ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", size],
        });
        if width < 500 {
            let metrics = json!({ "width": width, "height": 800, "pixelRatio": 2, "touch": true });
            options["mobileEmulation"] = json!({ "deviceMetrics": metrics });
        }
        let mut capabilities = serde_json::Map::new();
        capabilities.insert("goog:chromeOptions".to_owned(), options);
        let client = ClientBuilder::new(HttpConnector::new())
            .capabilities(capabilities)
            .connect(&format!("http://127.0.0.1:{}", self.port))
            .await
            .expect("a browser");
        let address = format!("file://{}", page.display());
        client.goto(&address).await.expect("the page");
        client
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Runs the example, some of whose calls fail, and returns its report.
fn report(directory: &Path) -> PathBuf {
    let page = directory.join("report.html");
    let nightly = std::env::var_os("NIGHTLY").expect("tests/browser/run sets the example's path");
    let status = Command::new(nightly)
        .args(["--pages", &PAGES.to_string()])
        .env("RETRY_REPORT", &page)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .expect("the example");
    assert!(status.success());
    page
}

async fn number(page: &Client, id: &str) -> u64 {
    let element = page.find(Locator::Id(id)).await.expect(id);
    let text = element.text().await.expect("a text").replace(',', "");
    text.parse().unwrap_or_else(|_| panic!("{id} is {text:?}"))
}

/// Returns the value of an expression in the page.
async fn value(page: &Client, expression: &str) -> Value {
    let script = format!("return {expression};");
    page.execute(&script, Vec::new()).await.expect(expression)
}

/// Scrolls to an element. The page hides what it shows when it scrolls, and learns of that before it draws the
/// next frame, which this waits for.
async fn scroll_to(page: &Client, element: &Element) {
    let scrolls = "const [bar, done] = arguments;
        bar.scrollIntoView({ block: 'center' });
        requestAnimationFrame(() => requestAnimationFrame(() => done()));";
    let element = serde_json::to_value(element).expect("a reference");
    page.execute_async(scrolls, vec![element])
        .await
        .expect("it scrolls");
}

/// Returns what the page shows of a bar, once the mouse is over it.
async fn hovered(page: &Client, bar: &str) -> String {
    let element = page.find(Locator::Css(bar)).await.expect(bar);
    scroll_to(page, &element).await;
    let moves = MouseActions::new("mouse".to_owned()).then(PointerAction::MoveToElement {
        element,
        duration: None,
        x: 0.0,
        y: 0.0,
    });
    page.perform_actions(moves).await.expect("the mouse moves");
    let tip = page
        .wait()
        .at_most(LIMIT)
        .for_element(Locator::Css("#tip:not([hidden])"))
        .await
        .expect("it appears");
    tip.text().await.expect("a text")
}

/// Checks that nothing is wider than the window, except what scrolls by itself.
async fn fits(page: &Client, width: u64) {
    assert_eq!(value(page, "innerWidth").await, width);
    let content = value(page, "document.documentElement.scrollWidth").await;
    assert!(content.as_u64() <= Some(width), "{content} of {width}");
    let wide = "[...document.querySelectorAll('section, header, dl, details, svg, pre, .scroll')]
        .filter(one => one.getBoundingClientRect().right > innerWidth + 0.5)
        .map(one => one.outerHTML.slice(0, 200))";
    assert_eq!(value(page, wide).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_shows_a_run_on_a_desktop_and_on_a_phone() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = report(directory.path());
    let driver = Driver::start();

    let page = driver.open(1280, &path).await;
    for (id, expected) in [
        ("calls", PAGES),
        ("succeeded", PAGES - FAILED),
        ("failed", FAILED),
        ("cancelled", 0),
        ("pending", 0),
    ] {
        assert_eq!(number(&page, id).await, expected, "{id}");
    }
    let counts =
        "[...document.querySelectorAll('#failures details')].map(one => +one.dataset.count)";
    assert_eq!(value(&page, counts).await, json!([12, 6, 1]));
    let elements = value(&page, "document.querySelectorAll('*').length").await;
    assert!(elements.as_u64() < Some(12_000), "{elements}");
    fits(&page, 1280).await;

    let tip = hovered(&page, "#timeline rect.t").await;
    for part in ["render[5521]", "TIMEOUT", " ms from ", "w", " pid "] {
        assert!(tip.contains(part), "{part:?} is not in {tip:?}");
    }
    let tip = hovered(&page, "#rate rect.o").await;
    assert!(
        tip.contains(" per second") && tip.contains(" succeeded"),
        "{tip:?}"
    );
    let tip = hovered(&page, "#durations rect.o").await;
    assert!(tip.contains("attempt"), "{tip:?}");

    // The rows are as wide as the page, beside their names.
    let names = "document.querySelector('.line svg').getBoundingClientRect().left";
    assert!(value(&page, names).await.as_f64() > Some(100.0));
    page.close().await.expect("it closes");

    let page = driver.open(400, &path).await;
    assert_eq!(number(&page, "failed").await, FAILED);
    fits(&page, 400).await;
    // An open group of failures fits as well, and the names are above the rows.
    let opens = "[...document.querySelectorAll('details')].forEach(one => one.open = true)";
    value(&page, opens).await;
    fits(&page, 400).await;
    assert!(value(&page, names).await.as_f64() < Some(40.0));
    let bar = page
        .find(Locator::Css("#timeline rect.t"))
        .await
        .expect("a bar");
    scroll_to(&page, &bar).await;
    bar.click().await.expect("a finger");
    let tip = page.find(Locator::Id("tip")).await.expect("a tip");
    assert!(tip.text().await.expect("a text").contains("render[5521]"));
    page.close().await.expect("it closes");
}
