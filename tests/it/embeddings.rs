//! Embeddings in every provider's protocol: the same text has the same vector everywhere, of the requested length.

use fake_openai::{
    Config, LimitSpec, Running,
    core::{clock::ManualClock, limit_status::Unit},
};
use serde_json::{Value, json};

use crate::client::{Connection, serve};

fn served() -> (Running, Connection) {
    let server = serve(Config::for_test());
    let connection = Connection::open(server.address());
    (server, connection)
}

/// Requests for the vector of a text from models of 1024 dimensions: path, body, and the place in the response.
fn spellings(text: &str) -> Vec<(&'static str, Value, &'static str)> {
    let content = json!({"parts": [{"text": text}]});
    let project = "/v1/projects/p/locations/l/publishers/google/models/text-of-1024";
    let path = |operation: &str| -> &'static str { format!("{project}:{operation}").leak() };
    vec![
        ("/v1/embeddings", json!({"model": "mistral-embed", "input": text}), "/data/0/embedding"),
        ("/mistral/v1/embeddings", json!({"model": "mistral-embed", "input": [text]}), "/data/0/embedding"),
        ("/jina/v1/embeddings", json!({"model": "jina-embeddings-v3", "input": [text]}), "/data/0/embedding"),
        ("/v1/embed", json!({"model": "embed-english-v3.0", "texts": [text]}), "/embeddings/0"),
        (
            "/v2/embed",
            json!({"model": "embed-english-v3.0", "input_type": "search_query", "texts": ["x", text]}),
            "/embeddings/float/1",
        ),
        (
            "/v2/embed",
            json!({"model": "embed-english-v3.0", "input_type": "search_query", "inputs": [{"content": [{"type": "text", "text": text}]}]}),
            "/embeddings/float/0",
        ),
        ("/api/embed", json!({"model": "mxbai-embed-large", "input": text}), "/embeddings/0"),
        ("/api/embed", json!({"model": "mxbai-embed-large", "input": ["x", text]}), "/embeddings/1"),
        ("/api/embeddings", json!({"model": "mxbai-embed-large", "prompt": text}), "/embedding"),
        (path("predict"), json!({"instances": [{"content": text}]}), "/predictions/0/embeddings/values"),
        (path("embedContent"), json!({"content": content.clone()}), "/embedding/values"),
        ("/v1beta/models/text-of-1024:embedContent", json!({"content": content.clone()}), "/embedding/values"),
        (
            "/v1beta/models/text-of-1024:batchEmbedContents",
            json!({"requests": [{"content": {}}, {"content": content}]}),
            "/embeddings/1/values",
        ),
        ("/model/amazon.titan-embed-text-v2%3A0/invoke", json!({"inputText": text}), "/embedding"),
        (
            "/model/cohere.embed-english-v3/invoke",
            json!({"texts": [text], "input_type": "search_query"}),
            "/embeddings/0",
        ),
        ("/embed", json!({"inputs": text}), "/0"),
        ("/pooling", json!({"input": text}), "/data/0/data"),
        ("/invocations", json!({"inputs": [text]}), "/embedding/0"),
        (
            "/v2/models/m/infer",
            json!({"inputs": [{"name": "input_text", "shape": [1], "datatype": "BYTES", "data": [text]}]}),
            "/outputs/0/data",
        ),
        (
            "/triton/embeddings",
            json!({"inputs": [{"name": "input_text", "shape": [1], "datatype": "BYTES", "data": [text]}]}),
            "/outputs/0/data",
        ),
    ]
}

/// A server whose model catalog gives a Google model 1024 dimensions, like the others.
fn leveled() -> (crate::program::Directory, Running) {
    let facts = include_str!("../../fixtures/facts.json");
    let facts = facts.replacen('[', r#"[{"model": "text-of-1024", "dimensions": 1024},"#, 1);
    let directory = crate::program::Directory::with(&[("facts.json", &facts)]);
    let server = serve(Config { fixtures: Some(directory.path().to_owned()), ..Config::for_test() });
    (directory, server)
}

#[test]
fn the_same_text_has_the_same_vector_in_every_protocol() {
    let (_directory, server) = leveled();
    let mut connection = Connection::open(server.address());
    let mut known: Option<Vec<f64>> = None;
    for (path, body, place) in spellings("The cat sat on the mat.") {
        let response = connection.post(path, &body.to_string());
        assert_eq!(response.status, 200, "{path}: {}", response.text());
        let answer = response.json();
        let vector = answer.pointer(place).unwrap_or_else(|| panic!("{path} {body} has no {place}"));
        let vector: Vec<f64> = serde_json::from_value(vector.clone()).unwrap();
        assert_eq!(vector.len(), 1024, "{path} {body}");
        let square: f64 = vector.iter().map(|number| number * number).sum();
        assert!((square - 1.0).abs() < 1e-5, "{path}");
        assert_eq!(*known.get_or_insert_with(|| vector.clone()), vector, "{path} {body}");
    }
}

#[test]
fn vectors_have_the_requested_length() {
    let (_server, mut connection) = served();
    let mut length = |path: &str, body: Value, place: &str| {
        let answer = connection.post(path, &body.to_string()).json();
        answer.pointer(place).unwrap_or_else(|| panic!("{path}: {answer}")).as_array().unwrap().len()
    };
    let content = json!({"parts": [{"text": "a"}]});
    let gemini = "/v1beta/models/gemini-embedding-001";
    assert_eq!(length(&format!("{gemini}:embedContent"), json!({"content": content}), "/embedding/values"), 3072);
    let two = json!({"requests": [{"content": content, "outputDimensionality": 7}, {"content": content}]});
    assert_eq!(length(&format!("{gemini}:batchEmbedContents"), two.clone(), "/embeddings/0/values"), 7);
    assert_eq!(length(&format!("{gemini}:batchEmbedContents"), two, "/embeddings/1/values"), 3072);
    let vertex = "/v1/projects/p/locations/l/publishers/google/models/text-embedding-005:predict";
    let body = json!({"instances": [{"content": "a"}], "parameters": {"outputDimensionality": 9}});
    assert_eq!(length(vertex, body, "/predictions/0/embeddings/values"), 9);
    for (model, most) in [("all-minilm", 384), ("nomic-embed-text:latest", 768), ("llama3", 4096)] {
        assert_eq!(length("/api/embed", json!({"model": model, "input": "a"}), "/embeddings/0"), most, "{model}");
    }
    let titan = json!({"inputText": "a", "dimensions": 256, "embeddingTypes": ["binary"]});
    assert_eq!(length("/model/amazon.titan-embed-text-v2%3A0/invoke", titan, "/embeddingsByType/binary"), 256);
    let cohere = json!({"model": "embed-english-light-v3.0", "texts": ["a"], "embedding_types": ["ubinary"]});
    assert_eq!(length("/v1/embed", cohere, "/embeddings/ubinary/0"), 384 / 8);
}

#[test]
fn faults_apply_to_every_embeddings_endpoint() {
    let (_server, mut connection) = served();
    for (path, body, _) in spellings("a") {
        for (fault, status) in [("429", 429), ("500", 500)] {
            let header = format!("x-fake-openai: {fault}\r\n");
            let refused = connection.request("POST", path, &header, &body.to_string()).unwrap();
            assert_eq!(refused.status, status, "{path}");
            assert!(refused.json().is_object(), "{path}");
        }
        let marked = body.to_string().replace("\"a\"", "\"a [[fake: 503]]\"");
        assert_eq!(connection.post(path, &marked).status, 503, "{path} {marked}");
    }
}

#[test]
fn token_limits_charge_embeddings_for_their_input() {
    let limits = vec![LimitSpec::per_minute(Unit::Tokens, 100)];
    let server = serve(Config { limits, clock: ManualClock::new().into(), ..Config::for_test() });
    let mut connection = Connection::open(server.address());
    let ask = |length: usize| json!({"model": "all-minilm", "input": "x".repeat(length)}).to_string();
    assert_eq!(connection.post("/api/embed", &ask(300)).status, 200);
    assert_eq!(connection.post("/api/embed", &ask(104)).status, 429, "75 of 100 tokens are used");
    let tokens = json!({"inputs": [vec![1; 20]]}).to_string();
    assert_eq!(connection.post("/embed", &tokens).status, 200);
    assert_eq!(connection.post("/embed", &tokens).status, 429, "input in token ids counts each id");
}

#[test]
fn malformed_members_give_a_client_error_or_a_vector() {
    let values = [
        json!(null),
        json!(""),
        json!(-1),
        json!(u64::MAX),
        json!([]),
        json!([[]]),
        json!([1, "a", null]),
        json!([[1, 4_294_967_295u64], ["a"]]),
        json!({"parts": 7}),
        json!([{"content": {"parts": [7]}}, "a", 7]),
        json!({"type": "text"}),
    ];
    for lenient in [false, true] {
        let server = serve(Config { lenient, ..Config::for_test() });
        let mut connection = Connection::open(server.address());
        for (path, body, _) in spellings("a") {
            let members: Vec<String> = body.as_object().unwrap().keys().cloned().collect();
            let more = ["output_dimension", "dimensions", "embedding_types", "embeddingTypes", "outputDimensionality"];
            for member in members.iter().map(String::as_str).chain(more) {
                for value in &values {
                    let mut body = body.clone();
                    body[member] = value.clone();
                    let response = connection.post(path, &body.to_string());
                    let fits =
                        if lenient { response.status == 200 } else { [200, 400, 413, 422].contains(&response.status) };
                    assert!(fits, "{path} {member} {value}: {}", response.status);
                }
            }
        }
    }
}
