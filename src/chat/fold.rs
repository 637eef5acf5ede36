//! A whole reply from its events.

use super::{Block, Event, Open, Reply, Stop};
use crate::error::Error;

/// Puts the blocks together. A reply that failed is its error.
pub fn fold(events: impl IntoIterator<Item = Event>) -> Result<Reply, Error> {
    let mut reply = Reply { id: None, blocks: vec![], usage: None, stop: Stop::End };
    for event in events {
        match event {
            Event::Start { id } => reply.id = id,
            Event::Open(open) => reply.blocks.push(empty(open)),
            Event::Delta(more) => match reply.blocks.last_mut() {
                Some(Block::Text { text, .. }) => text.push_str(&more),
                Some(Block::Reasoning { text, .. }) => text.push_str(&more),
                Some(Block::ToolCall { arguments, .. }) => arguments.push_str(&more),
                _ => {}
            },
            Event::Seal(new) => {
                if let Some(Block::Reasoning { seal, .. } | Block::ToolCall { seal, .. }) =
                    reply.blocks.last_mut()
                {
                    *seal = Some(new);
                }
            }
            Event::Close => {}
            Event::Usage(usage) => reply.usage = Some(usage),
            Event::Stop(stop) => reply.stop = stop,
            Event::Failed(error) => return Err(error),
        }
    }
    Ok(reply)
}

fn empty(open: Open) -> Block {
    match open {
        Open::Text => Block::text(""),
        Open::Reasoning => Block::Reasoning { text: String::new(), seal: None },
        Open::ToolCall { id, name } => {
            let arguments = String::new();
            Block::ToolCall { id, name, arguments, seal: None, cache: None }
        }
    }
}
