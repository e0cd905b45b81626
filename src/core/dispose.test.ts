import { expect, test } from 'vitest';
import { abandon, DisposalError, DisposalStack } from './dispose.ts';

test('steps run backwards, one after the other, and only once', async () => {
  const log: string[] = [];
  const stack = new DisposalStack();
  stack.defer(async () => {
    await Promise.resolve();
    log.push('first');
  });
  expect(stack.use({ [Symbol.asyncDispose]: async () => void log.push('second') })).toBeDefined();
  stack.use({ [Symbol.dispose]: () => void log.push('third') });
  expect(stack.use(undefined)).toBeUndefined();
  await Promise.all([stack[Symbol.asyncDispose](), stack[Symbol.asyncDispose]()]);
  await stack[Symbol.asyncDispose]();
  expect(log).toEqual(['third', 'second', 'first']);
});

test('a failing step does not stop the others; all errors come as one, to the first caller', async () => {
  const log: string[] = [];
  const stack = new DisposalStack();
  stack.defer(() => log.push('ran'));
  stack.defer(() => {
    throw new Error('tap is busy');
  });
  stack.defer(() => Promise.reject(new Error('socket is gone')));
  const first = stack[Symbol.asyncDispose]();
  const second = stack[Symbol.asyncDispose]();
  await expect(first).rejects.toThrow('cannot undo everything: socket is gone; tap is busy');
  await expect(first).rejects.toBeInstanceOf(DisposalError);
  await expect(second).resolves.toBeUndefined();
  expect(log).toEqual(['ran']);
});

test('move hands the steps over, so that a start that succeeded is not undone', async () => {
  const log: string[] = [];
  const heir = await (async () => {
    await using stack = new DisposalStack();
    stack.defer(() => log.push('undone'));
    return stack.move();
  })();
  expect(log).toEqual([]);
  await heir[Symbol.asyncDispose]();
  expect(log).toEqual(['undone']);
});

test('a disposed stack takes nothing more', async () => {
  const stack = new DisposalStack();
  await stack[Symbol.asyncDispose]();
  expect(stack.disposed).toBe(true);
  expect(() => stack.defer(() => {})).toThrow(ReferenceError);
  expect(() => stack.use({ [Symbol.dispose]: () => {} })).toThrow(ReferenceError);
  expect(() => stack.move()).toThrow(ReferenceError);
});

test('what is abandoned because of a failure does not put its own in the place of that', async () => {
  const problems: string[] = [];
  const stack = new DisposalStack();
  stack.defer(() => {
    throw new Error('tap is busy');
  });
  const start = async (): Promise<void> => {
    try {
      throw new Error('no such disk');
    } catch (error) {
      await abandon(stack, (problem) => problems.push(problem));
      throw error;
    }
  };
  await expect(start()).rejects.toThrow('no such disk');
  expect(problems).toEqual(['cannot undo everything: tap is busy']);
  await abandon(undefined);
});
