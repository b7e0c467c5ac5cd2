//! Tokenizers against what transformers recorded: every `tokenizer_NAME.json` of the oracle folder
//! beside its model folder `tokenizer_NAME/`.

use std::fs;
use std::path::PathBuf;

use emberl::tokenizer::{ChatOptions, Message, Tokenizer};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::{fixture, folder};

#[derive(Deserialize)]
struct Recorded {
    tokenizer: String,
    vocab_size_with_added: usize,
    eos_token: Option<String>,
    eos_token_id: Option<u32>,
    pad_token: Option<String>,
    pad_token_id: Option<u32>,
    bos_token: Option<String>,
    bos_token_id: Option<u32>,
    encodings: Vec<RecordedEncoding>,
    chats: Vec<RecordedChat>,
    prefix_decodes: Vec<RecordedPrefixes>,
}

#[derive(Deserialize)]
struct RecordedEncoding {
    text: String,
    ids: Vec<u32>,
    ids_no_special: Vec<u32>,
    tokens: Vec<String>,
    decoded: String,
    decoded_skip_special: String,
}

#[derive(Deserialize)]
struct RecordedChat {
    name: String,
    messages: Vec<Message>,
    tools: Option<Value>,
    template_vars: Map<String, Value>,
    add_generation_prompt: bool,
    text: Option<String>,
    ids: Option<Vec<u32>>,
    error: Option<String>,
}

#[derive(Deserialize)]
struct RecordedPrefixes {
    text: String,
    prefix_decodes: Vec<(Vec<u32>, String)>,
}

struct Case {
    folder: PathBuf,
    tokenizer: Tokenizer,
    recorded: Recorded,
}

/// All recorded tokenizers; never none.
fn cases() -> Vec<Case> {
    let folder = folder();
    let mut files: Vec<_> = fs::read_dir(&folder)
        .unwrap_or_else(|error| panic!("{}: {error}", folder.display()))
        .map(|entry| entry.expect("folder can be listed").path())
        .filter(|path| {
            path.extension()
                .is_some_and(|extension| extension == "json")
        })
        .filter(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with("tokenizer_"))
        })
        .collect();
    files.sort();
    let place = folder.display();
    assert!(!files.is_empty(), "no tokenizer_*.json in {place}");
    files.into_iter().map(case).collect()
}

fn case(file: PathBuf) -> Case {
    let name = file.display();
    let text = fs::read_to_string(&file).unwrap_or_else(|error| panic!("{name}: {error}"));
    let recorded: Recorded =
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    let folder = file.with_file_name(&recorded.tokenizer);
    let tokenizer = Tokenizer::load(&folder).unwrap_or_else(|error| panic!("{error}"));
    Case {
        folder,
        tokenizer,
        recorded,
    }
}

#[test]
fn special_tokens_and_vocabulary_size_are_those_of_transformers() {
    for Case {
        tokenizer,
        recorded,
        ..
    } in cases()
    {
        let name = &recorded.tokenizer;
        assert_eq!(
            tokenizer.vocabulary_size(),
            recorded.vocab_size_with_added,
            "{name}"
        );
        for (id, recorded_id, token) in [
            (
                tokenizer.eos_token_id(),
                recorded.eos_token_id,
                recorded.eos_token,
            ),
            (
                tokenizer.pad_token_id(),
                recorded.pad_token_id,
                recorded.pad_token,
            ),
            (
                tokenizer.bos_token_id(),
                recorded.bos_token_id,
                recorded.bos_token,
            ),
        ] {
            assert_eq!(id, recorded_id, "{name}: {token:?}");
            assert_eq!(id.and_then(|id| tokenizer.id_to_token(id)), token, "{name}");
        }
    }
}

#[test]
fn encodings_and_decodings_are_those_of_transformers() {
    for Case {
        tokenizer,
        recorded,
        ..
    } in cases()
    {
        assert!(!recorded.encodings.is_empty());
        for expected in recorded.encodings {
            let place = format!("{}: {:?}", recorded.tokenizer, expected.text);
            let encode = |special| tokenizer.encode(&expected.text, special).expect("encodes");
            let decode = |skip| tokenizer.decode(&expected.ids, skip).expect("decodes");
            let tokens = expected
                .ids
                .iter()
                .filter_map(|id| tokenizer.id_to_token(*id));
            assert_eq!(encode(true), expected.ids, "{place}");
            assert_eq!(encode(false), expected.ids_no_special, "{place}");
            assert_eq!(tokens.collect::<Vec<_>>(), expected.tokens, "{place}");
            assert_eq!(decode(false), expected.decoded, "{place}");
            assert_eq!(decode(true), expected.decoded_skip_special, "{place}");
        }
    }
}

#[test]
fn a_batch_encodes_as_its_texts_do() {
    for Case {
        tokenizer,
        recorded,
        ..
    } in cases()
    {
        let texts: Vec<_> = recorded.encodings.iter().map(|e| e.text.as_str()).collect();
        let expected: Vec<_> = recorded.encodings.iter().map(|e| e.ids.clone()).collect();
        let batch = tokenizer.encode_batch(&texts, true).expect("encodes");
        assert_eq!(batch, expected, "{}", recorded.tokenizer);
    }
}

#[test]
fn chats_render_and_encode_as_in_transformers() {
    for Case {
        tokenizer,
        recorded,
        ..
    } in cases()
    {
        assert!(!recorded.chats.is_empty());
        for chat in recorded.chats {
            let place = format!("{}: {}", recorded.tokenizer, chat.name);
            let options = ChatOptions {
                add_generation_prompt: chat.add_generation_prompt,
                tools: chat.tools,
                variables: chat.template_vars,
            };
            let text = tokenizer.render_chat(&chat.messages, &options);
            let ids = tokenizer.encode_chat(&chat.messages, &options);
            match chat.error {
                None => {
                    assert_eq!(text.ok(), chat.text, "{place}");
                    assert_eq!(ids.ok(), chat.ids, "{place}");
                }
                Some(error) => {
                    let refusal = text.expect_err(&place).to_string();
                    // What the template itself says, without the Python class in front.
                    let said = error
                        .strip_prefix("TemplateError: ")
                        .unwrap_or("chat template");
                    assert!(refusal.contains(said), "{place}: {refusal}");
                }
            }
        }
    }
}

#[derive(Deserialize)]
struct RecordedMask {
    tokenizer: String,
    chat_template: String,
    messages: Vec<Message>,
    ids: Vec<u32>,
    assistant_mask: Vec<u8>,
}

#[test]
fn what_the_assistant_wrote_is_what_transformers_finds() {
    let recorded: Vec<RecordedMask> = fixture::read_json(&folder().join("assistant_masks.json"));
    assert!(!recorded.is_empty());
    for case in recorded {
        let place = format!("{}: {:?}", case.tokenizer, case.messages);
        let tokenizer = Tokenizer::load(&folder().join(&case.tokenizer)).expect("loads");
        let tokenizer = tokenizer.with_chat_template(&case.chat_template);
        let tokenizer = tokenizer.expect("the template is taken");
        let options = ChatOptions::default();
        let found = tokenizer.encode_chat_marked(&case.messages, &options);
        let found = found.expect(&place);
        let mask: Vec<u8> = found.is_assistant.into_iter().map(u8::from).collect();
        let plain = tokenizer.encode_chat(&case.messages, &options);
        assert_eq!(plain.expect(&place), case.ids, "{place}");
        assert_eq!(
            (found.ids, mask),
            (case.ids, case.assistant_mask),
            "{place}"
        );
    }
}

#[test]
fn streams_never_show_half_a_character_and_end_complete() {
    for Case {
        tokenizer,
        recorded,
        ..
    } in cases()
    {
        assert!(!recorded.prefix_decodes.is_empty());
        for RecordedPrefixes {
            text,
            prefix_decodes,
        } in recorded.prefix_decodes
        {
            let mut stream = tokenizer.decode_stream(false);
            let mut streamed = String::new();
            let mut decoded = String::new();
            for (prefix, recorded_text) in prefix_decodes {
                decoded = tokenizer.decode(&prefix, false).expect("decodes");
                assert_eq!(decoded, recorded_text, "{text:?}");
                let last = *prefix.last().expect("prefixes have ids");
                streamed.extend(stream.push(last).expect("decodes"));
                // Half a character would show as U+FFFD.
                assert!(!streamed.contains('\u{fffd}') || text.contains('\u{fffd}'));
                assert!(decoded.starts_with(&streamed), "{decoded:?} {streamed:?}");
                if !decoded.ends_with('\u{fffd}') {
                    assert_eq!(streamed, decoded);
                }
            }
            streamed.extend(stream.flush().expect("decodes"));
            assert_eq!(streamed, decoded);
        }
    }
}

#[test]
fn streamed_pieces_add_up_to_every_decoding() {
    for Case {
        tokenizer,
        recorded,
        ..
    } in cases()
    {
        for encoding in recorded.encodings {
            for (skip, whole) in [
                (false, &encoding.decoded),
                (true, &encoding.decoded_skip_special),
            ] {
                let mut stream = tokenizer.decode_stream(skip);
                let mut pieces = String::new();
                for id in &encoding.ids {
                    pieces.extend(stream.push(*id).expect("decodes"));
                }
                pieces.extend(stream.flush().expect("decodes"));
                assert_eq!(&pieces, whole);
            }
        }
    }
}

#[test]
fn a_saved_tokenizer_has_the_files_it_was_read_from() {
    for Case {
        folder, tokenizer, ..
    } in cases()
    {
        let copy = tempfile::tempdir().expect("temporary folder");
        tokenizer.save(copy.path()).expect("saves");
        let files = |folder: PathBuf| {
            let entries = fs::read_dir(folder).expect("folder can be listed");
            let mut files: Vec<_> = entries
                .map(|entry| entry.expect("folder can be listed"))
                .map(|entry| (entry.file_name(), fs::read(entry.path()).expect("file")))
                .collect();
            files.sort();
            files
        };
        assert_eq!(files(copy.path().to_path_buf()), files(folder));
    }
}
