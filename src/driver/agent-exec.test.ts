import { describe, expect, it } from 'vitest';
import { AgentExec, type AskAgent, agentCommand } from './agent-exec.ts';

const UUID = 'c7a5fdbd-edaf-9455-926a-d65c16db1809';

/** An agent whose program has ended when it is asked for the third time. */
function agentOf(end: object): { readonly ask: AskAgent; readonly asked: unknown[] } {
  const asked: unknown[] = [];
  const ask: AskAgent = async (_uuid, command, args) => {
    asked.push([command, args]);
    if (command === 'guest-exec') return { pid: 42 };
    return asked.length < 4 ? { exited: false } : { exited: true, ...end };
  };
  return { ask, asked };
}

describe('programs through a guest agent', () => {
  it('asks until it has ended, and has its output', async () => {
    const { ask, asked } = agentOf({ exitcode: 3, 'out-data': 'b3V0', 'err-data': 'ZXJy' });
    const result = await new AgentExec(ask).exec(UUID, ['/bin/cat', '-'], { input: Buffer.from('in') });
    expect([result.status, String(result.stdout), String(result.stderr)]).toEqual([3, 'out', 'err']);
    expect(asked).toEqual([
      ['guest-exec', { path: '/bin/cat', arg: ['-'], 'input-data': 'aW4=', 'capture-output': true }],
      ...Array.from({ length: 3 }, () => ['guest-exec-status', { pid: 42 }]),
    ]);
  });

  it('a signal ends as in a shell', async () => {
    expect((await new AgentExec(agentOf({ signal: 9 }).ask).exec(UUID, ['x'])).status).toBe(137);
  });

  it('has no terminals, signals and namespaces', async () => {
    const exec = new AgentExec(agentOf({}).ask);
    await expect(exec.exec(UUID, ['x'], { terminal: true })).rejects.toThrow(/no terminals/);
    await expect(exec.sendSignal()).rejects.toThrow(/virDomainSendProcessSignal/);
    await expect(exec.openNamespaces()).rejects.toThrow(/virDomainLxcOpenNamespace/);
  });

  it("user, folder and variables are the guest's own programs' work, and no shell reads a word", () => {
    expect(agentCommand(['ls', '$HOME; x'], { user: 'app', cwd: '/a b', env: ['A=1'] })).toEqual({
      path: 'runuser',
      arg: ['-u', 'app', '--', 'sh', '-c', 'cd -- "$0" && exec "$@"', '/a b', 'env', 'A=1', 'ls', '$HOME; x'],
    });
    expect(agentCommand(['ls'], {})).toEqual({ path: 'ls', arg: [] });
  });
});
