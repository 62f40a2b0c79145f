//! wire.md 2.1: placeholders, and waiting for attachments.

use broadgate_protocol::socketio::{Assembler, DecodeError, decode};

use super::socketio_packets::LIMITS;

/// 2.1 and 2.4: a `num` out of range is fatal; what only resembles a placeholder is not one.
#[test]
fn section_2_1_placeholders() {
    let legal = [
        r#"["a"]"#,
        r#"["a",{"_placeholder":true,"num":0}]"#,
        r#"["a",{"num":1,"_placeholder":true}]"#,
        r#"["a",{"_placeholder":true,"num":0},{"_placeholder":true,"num":0}]"#,
        r#"["a",{"x":[{"y":{"_placeholder" : true , "num" : 1 }}]}]"#,
        r#"["a",{"_placeholder":false,"num":9}]"#,
        r#"["a",{"_placeholder":"true","num":9}]"#,
        r#"["a",{"_placeholder":1,"num":9}]"#,
        r#"["a",{"_placeholder":null}]"#,
        r#"["a",{"_placeholder":[true],"num":9}]"#,
        r#"["a",{"num":9}]"#,
        r#"["_placeholder",true,"num",9]"#,
        r#"["a","{\"_placeholder\":true,\"num\":9}"]"#,
        r#"["a",{"x":"_placeholder","y":true,"num":9}]"#,
        // The last of a repeated key counts.
        r#"["a",{"_placeholder":true,"_placeholder":false,"num":9}]"#,
        r#"["a",{"_placeholder":true,"num":9,"num":1}]"#,
        // Text that is legal JSON, but not for every parser.
        r#"["a","\ud800",{"\ud800":1,"_placeholder":true,"num":0}]"#,
    ];
    for payload in legal {
        assert!(decode(&format!("52-{payload}"), &LIMITS).is_ok(), "{payload}");
    }
    let illegal = [
        r#"["a",{"_placeholder":true,"num":2}]"#,
        r#"["a",{"num":2,"_placeholder":true}]"#,
        r#"["a",{"_placeholder":true}]"#,
        r#"["a",{"_placeholder":true,"num":-1}]"#,
        r#"["a",{"_placeholder":true,"num":0.5}]"#,
        r#"["a",{"_placeholder":true,"num":"0"}]"#,
        r#"["a",{"_placeholder":true,"num":null}]"#,
        r#"["a",{"_placeholder":true,"num":[0]}]"#,
        r#"["a",{"_placeholder":true,"num":99999999999999999999999}]"#,
        r#"["a",{"x":[1,{"y":{"_placeholder":true,"num":2}}]}]"#,
        r#"["a",{"x":{},"_placeholder":true,"y":[],"num":2}]"#,
        // After strings that end otherwise than they seem to.
        r#"["a","\"",{"_placeholder":true,"num":2}]"#,
        r#"["a","\\",{"_placeholder":true,"num":2}]"#,
        r#"["a","\\\"{",{"_placeholder":true,"num":2}]"#,
        // As JSON.parse sees it.
        r#"["a",{"\u005fplaceholder":true,"n\u0075m":2}]"#,
        r#"["a",{"_placeholder":false,"_placeholder":true,"num":2}]"#,
    ];
    for payload in illegal {
        let expected = Err(DecodeError::IllegalPlaceholder);
        assert_eq!(decode(&format!("52-{payload}"), &LIMITS), expected, "{payload}");
    }
    // Without attachments it is an object like any other.
    assert!(decode(r#"2["a",{"_placeholder":true,"num":2}]"#, &LIMITS).is_ok());
    assert_eq!(
        decode(r#"62-[{"_placeholder":true,"num":2}]"#, &LIMITS),
        Err(DecodeError::IllegalPlaceholder)
    );
}

#[test]
fn section_2_1_attachments_follow_in_order() {
    let text = r#"52-/admin,17["upload",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;
    let mut assembler = {
        let text = text.to_owned();
        Assembler::new(&decode(&text, &LIMITS).unwrap())
    };
    let text_bytes = assembler.buffered_bytes();
    assert_eq!(text_bytes, text.len() - "52-,".len());
    assert!(!assembler.add(&[1, 2, 3]));
    assert_eq!(assembler.buffered_bytes(), text_bytes + 3);
    assert!(assembler.add(&[]));
    assert_eq!(assembler.packet(), decode(text, &LIMITS).unwrap());
    assert!(assembler.add(b"one too many"));
    assert_eq!(assembler.buffered_bytes(), text_bytes + 3);
    let attachments = assembler.take_attachments();
    assert_eq!(attachments, [vec![1, 2, 3].into_boxed_slice(), Box::default()]);
}
