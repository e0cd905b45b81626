/** Whether a mirror has changed: a hash of its index files. Asks each for a few seconds; a mirror that does not answer is no error here. */
import { readFile } from 'node:fs/promises';
import { sha256Hex } from '../core/sha256.ts';

export interface Freshness {
  /** Undefined when none of the files could be read. */
  readonly hash: string | undefined;
  /** The mirror answered, but has none of them. */
  readonly isMissing: boolean;
}

const TIMEOUT_MS = 10_000;

/** Reads all at the same time. @throws the signal's reason */
export async function readFreshness(urls: readonly string[], signal?: AbortSignal): Promise<Freshness> {
  const answers = await Promise.all(urls.map((url) => readUrl(url, signal)));
  signal?.throwIfAborted();
  const texts = answers.map((answer) => (typeof answer === 'string' ? answer : ''));
  return {
    hash: texts.every((text) => text === '') ? undefined : sha256Hex(texts.join('\0')),
    isMissing: answers.length > 0 && answers.every((answer) => answer === NOT_THERE),
  };
}

/** Its text; `NOT_THERE` or `NO_ANSWER`. */
async function readUrl(url: string, signal: AbortSignal | undefined): Promise<string | number> {
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  try {
    const local = /^(?:file|copy):\/\/(\/.*)$/.exec(url)?.[1];
    if (local !== undefined) return await readFile(local, 'utf8');
    const answer = await fetch(url, { signal: signal === undefined ? limit : AbortSignal.any([signal, limit]) });
    if (!answer.ok) return answer.status === 404 ? NOT_THERE : NO_ANSWER;
    return await answer.text();
  } catch (error) {
    // Whoever builds will say it better: this only decides whether what is there is still good.
    return error instanceof Error && 'code' in error && error.code === 'ENOENT' ? NOT_THERE : NO_ANSWER;
  }
}

const NOT_THERE = 404;
const NO_ANSWER = 0;
