import { describe, expect, it } from 'vitest';
import { parseExecOptions } from './exec.ts';

describe('nestling exec', () => {
  it("options come before the guest's program, whose own are passed on", () => {
    const words = ['-t', '-u', 'app', '-w', '/srv', '-e', 'A=1', '-e', 'B=', 'web', '--', 'ls', '-t', '--', 'x'];
    expect(parseExecOptions([...words], { LIBVIRT_DEFAULT_URI: 'lxc:///session' })).toEqual({
      guest: 'web',
      command: ['ls', '-t', '--', 'x'],
      uris: ['lxc:///session'],
      terminal: true,
      user: 'app',
      cwd: '/srv',
      env: ['A=1', 'B='],
    });
  });

  it('where the guest is looked for', () => {
    const urisOf = (...words: string[]): unknown => {
      const wishes = parseExecOptions([...words, 'web', '--', 'ls'], {});
      return wishes === 'help' ? wishes : wishes.uris;
    };
    expect(urisOf('--connect', 'qemu+ssh://h/system')).toEqual(['qemu+ssh://h/system']);
    expect(urisOf('--socket', '/run/a b')).toEqual(['qemu+unix:///system?socket=%2Frun%2Fa%20b']);
    expect(urisOf()).toEqual([expect.stringMatching(/^lxc:\/\/\//), expect.stringMatching(/^qemu:\/\/\//)]);
  });

  it.each([
    [[], /GUEST is missing/],
    [['web'], /COMMAND is missing/],
    [['web', '--'], /COMMAND is missing/],
    [['web', 'ls'], /COMMAND is missing/],
    [['web', 'ls', '--', 'x'], /unexpected argument 'ls'/],
    [['-e', '=x', 'web', '--', 'ls'], /--env takes NAME=VALUE/],
    [['--connect', 'a', '--socket', 'b', 'web', '--', 'ls'], /exclude each other/],
  ])('%j is refused', (words, message) => {
    expect(() => parseExecOptions([...words], {})).toThrow(message);
  });
});
