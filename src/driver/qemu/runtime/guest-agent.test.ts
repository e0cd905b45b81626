import { Duplex } from 'node:stream';
import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../../core/errors.ts';
import { parseDomain } from '../../../model/domain/domain.ts';
import { type AgentGuest, executeAgentCommand } from './guest-agent.ts';

const AGENT =
  "<channel type='unix'><source mode='bind' path='/run/agent'/><target type='virtio' name='org.qemu.guest_agent.0'/></channel>";

describe('executeAgentCommand', () => {
  it('runs commands over one connection', async () => {
    const { guest, end } = makeGuest(AGENT);
    const agent = new FakeAgent((command) => ({ return: { ran: command } }));
    const paths: string[] = [];
    const open = async (path: string) => {
      paths.push(path);
      return agent.stream;
    };
    expect(await executeAgentCommand(guest, 'guest-info', undefined, undefined, open)).toEqual({ ran: 'guest-info' });
    expect(await executeAgentCommand(guest, 'guest-ping', { a: 1 }, undefined, open)).toEqual({ ran: 'guest-ping' });
    expect(paths).toEqual(['/run/agent']);
    expect(agent.arguments).toEqual([undefined, { a: 1 }]);
    end();
    await agent.closed;
  });

  it('passes on what the agent says when it refuses', async () => {
    const { guest } = makeGuest(AGENT);
    const agent = new FakeAgent(() => ({ error: { class: 'GenericError', desc: 'the disk is frozen' } }));
    await expect(executeAgentCommand(guest, 'guest-x', undefined, undefined, async () => agent.stream)).rejects.toThrow(
      expect.objectContaining({
        code: ErrorCode.OPERATION_FAILED,
        message: "the agent of guest 'g' refused guest-x: the disk is frozen",
      }),
    );
  });

  it('says which XML a guest without the channel needs', async () => {
    const { guest } = makeGuest('');
    await expect(executeAgentCommand(guest, 'guest-info')).rejects.toThrow(
      /add <channel type='unix'><target type='virtio' name='org\.qemu\.guest_agent\.0'\/><\/channel>/,
    );
    const pty = makeGuest("<channel type='pty'><target type='virtio' name='org.qemu.guest_agent.0'/></channel>");
    await expect(executeAgentCommand(pty.guest, 'guest-info')).rejects.toThrow(
      expect.objectContaining({ code: ErrorCode.ARGUMENT_UNSUPPORTED }),
    );
  });

  it('is unresponsive when nobody answers in time', async () => {
    const { guest } = makeGuest(AGENT);
    const silent = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    const timeUp = new AbortController();
    const answer = executeAgentCommand(guest, 'guest-info', undefined, timeUp.signal, async () => silent);
    timeUp.abort(new DOMException('time is up', 'TimeoutError'));
    await expect(answer).rejects.toThrow(expect.objectContaining({ code: ErrorCode.AGENT_UNRESPONSIVE }));
  });

  it('rejects with the reason of a caller who gives up', async () => {
    const { guest } = makeGuest(AGENT);
    const silent = new Duplex({ read() {}, write: (_chunk, _encoding, done) => done() });
    const stop = new AbortController();
    const answer = executeAgentCommand(guest, 'guest-info', undefined, stop.signal, async () => silent);
    stop.abort(new Error('never mind'));
    await expect(answer).rejects.toThrow('never mind');
  });

  it('connects anew after a failure', async () => {
    const { guest } = makeGuest(AGENT);
    const refuse = async () => {
      throw new Error('connect ECONNREFUSED /run/agent');
    };
    await expect(executeAgentCommand(guest, 'guest-info', undefined, undefined, refuse)).rejects.toThrow(
      expect.objectContaining({ code: ErrorCode.AGENT_UNRESPONSIVE, message: expect.stringContaining('ECONNREFUSED') }),
    );
    const agent = new FakeAgent(() => ({ return: 7 }));
    expect(await executeAgentCommand(guest, 'guest-x', undefined, undefined, async () => agent.stream)).toBe(7);
  });
});

function makeGuest(devices: string): { guest: AgentGuest; end: () => void } {
  const memory = '<memory>1024</memory><os><type>hvm</type></os>';
  const { domain } = parseDomain(`<domain type='qemu'><name>g</name>${memory}<devices>${devices}</devices></domain>`);
  let end = (): void => {};
  const ended = new Promise<void>((resolve) => {
    end = resolve;
  });
  return { guest: { domain, ended }, end };
}

/** An agent at the other end of a stream: answers handshakes itself, and commands as it is told. */
class FakeAgent {
  readonly stream: Duplex;
  readonly arguments: unknown[] = [];
  readonly closed: Promise<void>;

  constructor(answer: (command: string) => unknown) {
    let rest = Buffer.alloc(0);
    const stream = new Duplex({
      read() {},
      write: (chunk: Buffer, _encoding, done) => {
        rest = Buffer.concat([rest, chunk]);
        for (let end = rest.indexOf(0x0a); end !== -1; end = rest.indexOf(0x0a)) {
          const line = rest.subarray(0, end);
          rest = rest.subarray(end + 1);
          const text = line.subarray(line.lastIndexOf(0xff) + 1).toString();
          const { execute, arguments: args } = JSON.parse(text) as { execute: string; arguments?: { id?: number } };
          const isSync = execute === 'guest-sync-delimited';
          if (!isSync) this.arguments.push(args);
          const reply = isSync ? { return: args?.id } : answer(execute);
          const bytes = Buffer.from(`${JSON.stringify(reply)}\n`);
          stream.push(isSync ? Buffer.concat([Buffer.of(0xff), bytes]) : bytes);
        }
        done();
      },
    });
    this.stream = stream;
    this.closed = new Promise((resolve) => stream.once('close', resolve));
  }
}
