//! What the console answers a form about a person with: the address of a page, never a page. A browser keeps the body of
//! a form with the page that answers it.

use http::StatusCode;

use super::console::{Browser, ON, Shown, key, operator};
use crate::ledger::Folder;
use crate::support::{TestGateway, person};

const NAME: &str = "张测试";
const NUMBER: &str = "110101199003079972";
/// With another check digit.
const WRONG: &str = "110101199003079973";
const QUESTION: [(&str, &str); 4] =
    [("name", NAME), ("id_number", NUMBER), ("no_cache", "yes"), ("include_person", "yes")];
const NO_LONGER: &str = "This result is no longer kept; ask again.";

/// How many calls are in the ledger, and so on a bill.
async fn calls(folder: &Folder) -> usize {
    folder.in_short().await.iter().filter(|entry| entry.starts_with("call ")).count()
}

fn assert_leads_nowhere_with_a_person(led: &Shown, to: &str) {
    assert_eq!(led.status, StatusCode::SEE_OTHER, "{}", led.text);
    assert!(led.text.is_empty() && led.headers["cache-control"] == "no-store", "{}", led.text);
    let id = led.location().strip_prefix(to).unwrap_or_else(|| panic!("{}", led.location()));
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}

#[tokio::test]
async fn reading_an_answer_again_asks_and_pays_nothing() {
    let folder = Folder::new();
    let gateway = folder.gateway().over(ON).start().await;
    let mut browser = Browser::signed_in(&gateway, "").await;
    let led = browser.post(&gateway, "/console/ask", &QUESTION).await;
    assert_leads_nowhere_with_a_person(&led, "/console/ask/answer/");
    assert_eq!(calls(&folder).await, 1);
    let mut pages = Vec::new();
    for _ in 0..3 {
        let page = browser.get(&gateway, led.location()).await;
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(page.headers["cache-control"], "no-store");
        for part in [">match<", "1990-03-07", "curl -s", "¥"] {
            assert!(page.text.contains(part), "{part}: {}", page.text);
        }
        let form = page.text.split_once("aria-label=\"A question\"").unwrap().1.split_once("</form>").unwrap().0;
        assert!(!form.contains(NUMBER) && !form.contains(NAME), "the form is not filled in: {form}");
        pages.push(page.text);
    }
    assert!(pages.iter().all(|page| *page == pages[0]));
    // A form that is sent to an answer's address asks nobody either.
    assert_eq!(browser.post(&gateway, led.location(), &QUESTION).await.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(calls(&folder).await, 1);
    let again = browser.post(&gateway, "/console/ask", &QUESTION).await;
    assert_ne!(again.location(), led.location(), "the same person has another address");
    assert_eq!(calls(&folder).await, 2);
}

#[tokio::test]
async fn a_result_is_for_its_session_and_ends_with_it() {
    let folder = Folder::new();
    let gateway =
        folder.gateway().over(ON).over(operator("sam", "support")).over(operator("eva", "support")).start().await;
    let mut sam = Browser::signed_in(&gateway, &key("sam")).await;
    let answer = sam.post(&gateway, "/console/ask", &QUESTION).await;
    let search = sam.post(&gateway, "/console/answers", &QUESTION[..2]).await;
    assert_leads_nowhere_with_a_person(&search, "/console/answers/found/");
    let search_id = search.location().rsplit('/').next().unwrap().to_owned();
    let others = [Browser::signed_in(&gateway, &key("eva")).await, Browser::signed_in(&gateway, &key("sam")).await];
    for mut other in others {
        for address in [answer.location(), search.location(), "/console/ask/answer/0"] {
            let page = other.get(&gateway, address).await;
            assert_eq!((page.status, page.text.contains(NO_LONGER)), (StatusCode::NOT_FOUND, true), "{address}");
            // The number itself is on the page: among the people of the sandbox.
            for part in ["1990-03-07", "curl -s", "1 answer"] {
                assert!(!page.text.contains(part), "{address}: {part}");
            }
            assert_eq!(page.headers["cache-control"], "no-store");
        }
        let csv = other.post(&gateway, "/console/answers/export", &[("found", &search_id)]).await;
        assert_eq!((csv.status, csv.text.contains(NO_LONGER)), (StatusCode::NOT_FOUND, true), "{}", csv.text);
    }
    assert_eq!(Browser::default().get(&gateway, answer.location()).await.location(), "/console/sign-in");

    // Sam's other tab still has the form when the session ends.
    let mut late = sam.clone();
    sam.post(&gateway, "/console/sign-out", &[]).await;
    let before = calls(&folder).await;
    for path in ["/console/ask", "/console/answers"] {
        assert_eq!(late.post(&gateway, path, &QUESTION).await.location(), "/console/not-done/401");
        let mut anew = Browser::signed_in(&gateway, &key("sam")).await;
        anew.token.clone_from(&late.token);
        assert_eq!(anew.post(&gateway, path, &QUESTION).await.location(), "/console/not-done/403");
        let why = anew.get(&gateway, "/console/not-done/403").await;
        assert!(why.status == StatusCode::FORBIDDEN && why.text.contains("not from this session"), "{}", why.text);
    }
    assert_eq!(calls(&folder).await, before);
    let mut anew = Browser::signed_in(&gateway, &key("sam")).await;
    assert_eq!(anew.get(&gateway, answer.location()).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn what_is_refused_leaves_no_person_either() {
    let folder = Folder::new();
    let gateway = folder.gateway().over(ON).start().await;
    let mut browser = Browser::signed_in(&gateway, "").await;
    let wrong = [("name", NAME), ("id_number", WRONG)];
    let page = browser.follow(&gateway, "/console/ask", &wrong).await;
    assert!(page.text.contains("invalid id number") && page.text.contains("role=\"alert\""), "{}", page.text);
    assert!(!page.text.contains(WRONG), "{}", page.text);
    let page = browser.follow(&gateway, "/console/answers", &wrong).await;
    assert!(page.text.contains("role=\"alert\"") && !page.text.contains(WRONG), "{}", page.text);
    assert_eq!(calls(&folder).await, 0);
    let large = "张".repeat(6000);
    let led = browser.post(&gateway, "/console/ask", &[("name", &large), ("id_number", NUMBER)]).await;
    assert_eq!(led.location(), "/console/not-done/413");
    let more = [("content-type", "text/plain")];
    let led = browser.send(&gateway, "POST", "/console/ask", Some(format!("name={NAME}")), &more).await;
    assert_eq!(led.location(), "/console/not-done/415");
}

#[tokio::test]
async fn a_thousand_questions_leave_the_last_few() {
    let gateway = TestGateway::new().over(ON).start().await;
    let mut browser = Browser::signed_in(&gateway, "").await;
    let mut addresses = Vec::new();
    for n in 0..1000 {
        let number = person(n % 5).id_number;
        let led = browser.post(&gateway, "/console/ask", &[("name", NAME), ("id_number", &number)]).await;
        addresses.push(led.location().to_owned());
    }
    let mut kept = Vec::new();
    for address in &addresses[980..] {
        kept.push(browser.get(&gateway, address).await.status == StatusCode::OK);
    }
    assert_eq!(kept, [vec![false; 12], vec![true; 8]].concat());
    assert_eq!(browser.get(&gateway, &addresses[0]).await.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_next_page_and_the_export_are_of_the_same_person() {
    let folder = Folder::new();
    let gateway = folder.gateway().over(ON).start().await;
    let pair = person(1);
    for _ in 0..60 {
        gateway.ask(&pair).await;
    }
    gateway.ask(&person(2)).await;
    let mut browser = Browser::signed_in(&gateway, "").await;
    let fields = [("name", &*pair.name), ("id_number", &*pair.id_number)];
    let led = browser.post(&gateway, "/console/answers", &fields).await;
    let first = browser.get(&gateway, led.location()).await.text;
    assert!(first.contains("50 of more answers"), "{first}");
    assert!(!first.contains("name=\"subject\""), "no digest goes to the browser");
    let next = format!("{}?after=", led.location());
    let place = first.split_once(&next).unwrap().1.split('"').next().unwrap();
    for _ in 0..2 {
        let second = browser.get(&gateway, &format!("{next}{place}")).await.text;
        assert!(second.contains("10 answers") && !second.contains("?after="), "{second}");
    }
    let id = led.location().rsplit('/').next().unwrap();
    let csv = browser.post(&gateway, "/console/answers/export", &[("found", id)]).await;
    assert_eq!(csv.text.lines().count(), 61, "{}", csv.text);
    let stale = browser.post(&gateway, "/console/answers/export", &[("found", "0")]).await;
    assert_eq!(stale.status, StatusCode::NOT_FOUND);
}
