//! Any bytes as a body: what is an object is read as one, and untouched values stay as they are.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sap_ai_core_llm_proxy::envelope::Envelope;
use sap_ai_core_llm_proxy::upstream_error;
use serde_json::{Map, Value};

fuzz_target!(|data: &[u8]| {
    let _ = upstream_error::from_event(data);
    let _ = upstream_error::from_response(500, data, None);
    let read = serde_json::from_slice::<Map<String, Value>>(data);
    let envelope = Envelope::parse(data.to_vec());
    let Ok(mut envelope) = envelope else {
        // Of two values of one key nobody knows which is meant; serde_json takes the last.
        let error = envelope.unwrap_err().to_string();
        return assert!(read.is_err() || error.ends_with("given twice"), "{error}");
    };
    assert_eq!(&*envelope.to_bytes(), data);
    let Ok(read) = read else { return };
    let keys: Vec<String> = envelope.keys().collect();
    assert_eq!(keys.len(), read.len());
    let raw: Vec<Vec<u8>> = keys.iter().map(|key| envelope.raw(key).unwrap().to_vec()).collect();
    envelope.set("of the fuzzer", "1");
    for (key, raw) in keys.iter().zip(&raw) {
        assert_eq!(serde_json::from_slice::<Value>(raw).ok().as_ref(), read.get(key));
        if key != "of the fuzzer" {
            assert_eq!(envelope.raw(key), Some(&**raw));
            envelope.remove(key);
        }
    }
    assert_eq!(&*envelope.into_bytes(), br#"{"of the fuzzer":1}"#);
});
