// Requests as people write them, and what is read from the answers. asks.py is the same for Python.

import assert from 'node:assert/strict';
import { z } from 'zod';

export const PIXEL =
  'data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk' +
  'YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==';

const PAPER = '%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>\n%%EOF\n';
export const PDF = `data:application/pdf;base64,${Buffer.from(PAPER).toString('base64')}`;

export const TOOLS = [
  ['weather_of', 'weather'],
  ['time_in', 'time'],
].map(([name, what]) => ({
  type: 'function',
  function: {
    name,
    description: `Tells the ${what} of a city`,
    parameters: { type: 'object', properties: { city: { type: 'string' } }, required: ['city'] },
  },
}));

export const INVOICE = z.object({
  number: z.string(),
  currency: z.enum(['EUR', 'USD']),
  lines: z.array(z.object({ name: z.string(), price: z.number() })),
  note: z.string().nullable(),
  paid: z.boolean(),
});

/** The text with a marker for the demo, which hurries unless told otherwise. */
export const prompt = (text, fault = 'pause_ms=0') => `${text} [[demo ${fault}]]`;

/** Some models take neither of the two settings as they are; the proxy has to know. */
export function says(text, model, { fault, parts, ...more } = {}) {
  const asked = prompt(text, fault);
  const content = parts ? [{ type: 'text', text: asked }, ...parts] : asked;
  const messages = [{ role: 'user', content }];
  return { model, messages, max_tokens: 4000, temperature: 0.2, ...more };
}

export async function all(iterable) {
  const items = [];
  for await (const item of iterable) items.push(item);
  return items;
}

export function textOf(chunks) {
  return chunks.map((chunk) => chunk.choices[0]?.delta.content ?? '').join('');
}

export const called = (message) => (message.tool_calls ?? []).map((call) => call.function.name);

/** What a client keeps of an answer that knows OpenAI's own fields only. */
export function turn({ content, tool_calls }) {
  const calls = tool_calls.map(({ id, function: { name, arguments: json } }) => {
    return { id, type: 'function', function: { name, arguments: json } };
  });
  return { role: 'assistant', content, tool_calls: calls };
}

export const result = (call, content) => ({ role: 'tool', tool_call_id: call.id, content });

/** The error of this class that `run` ends in. */
export async function caught(kind, run) {
  try {
    await run();
  } catch (error) {
    assert.ok(error instanceof kind, `${error.constructor.name}: ${error.message}`);
    return error;
  }
  assert.fail('no error');
}
