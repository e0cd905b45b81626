/** The commands beside `run`: help, version, capabilities, domcapabilities, domxml-to-native, gc. */
import { execFileSync, spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { nestling, writeGuest } from './cli-session.ts';

let scratch: string;
beforeAll(() => {
  scratch = mkdtempSync(join(tmpdir(), 'cli-commands-'));
});
afterAll(() => rmSync(scratch, { recursive: true, force: true }));

const COMMANDS = [
  'run',
  'capabilities',
  'domcapabilities',
  'domxml-to-native',
  'domxml-from-native',
  'exec',
  'partition',
  'network',
  'image',
  'doctor',
  'ci',
  'gc',
];

describe('the executable', () => {
  const cli = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));

  it.each([
    ['run', ['--random-seed=154']],
    ['daemon', []],
    ['--version', []],
    ['*', []],
  ])('starts Node for %s without the extra certificates of the environment, and with %j', (subcommand, options) => {
    const bin = join(scratch, `bin ${subcommand.length}`);
    mkdirSync(bin);
    writeFileSync(join(bin, 'node'), '#!/bin/sh\nprintf "%s\\n" "${NODE_EXTRA_CA_CERTS-none}" "$@"\n', { mode: 0o755 });
    const link = join(bin, 'nestling');
    symlinkSync(cli, link);
    const env = { PATH: `${bin}:${process.env['PATH']}`, NODE_EXTRA_CA_CERTS: '/nonexistent' };
    const words = execFileSync(link, [subcommand, 'a  b', ''], { env, encoding: 'utf8' });
    expect(words.split('\n')).toEqual(['none', ...options, link, subcommand, 'a  b', '', '']);
  });

  it('keeps compiled code of what does its work, not of what only tells its usage or fails', () => {
    const cache = join(scratch, 'cache');
    const env = { ...process.env, NESTLING_CACHE_DIR: cache };
    const keptAfter = (...args: string[]): string[] => {
      spawnSync(cli, args, { env });
      return existsSync(cache) ? readdirSync(cache).filter((name) => name.endsWith('.v8cache')) : [];
    };
    for (const args of [['--help'], ['-V'], ['/nonexistent.xml']]) expect(keptAfter('gc', ...args)).toEqual([]);
    expect(keptAfter('gc')).toHaveLength(1);
  });

  it('is a script of Node’s too', () => {
    expect(execFileSync(process.execPath, [cli, '--version'], { encoding: 'utf8' })).toMatch(/^nestling \d/);
    expect(execFileSync(cli, ['run', '--version'], { encoding: 'utf8' })).toMatch(/^nestling \d/);
  });
});

describe('help and version', () => {
  it('without arguments the help goes to standard error: 2', async () => {
    const { status, stdout, stderr } = await nestling([]);
    expect({ status, stdout }).toEqual({ status: 2, stdout: '' });
    expect(stderr).toMatch(/^Usage: nestling COMMAND/);
  });

  it.each([['--help'], ['-h'], ['help']])('%s: 0', async (option) => {
    const { status, stdout, stderr } = await nestling([option]);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'));
  });

  it.each(COMMANDS)('%s --help: 0', async (command) => {
    const { status, stdout, stderr } = await nestling([command, '--help']);
    expect({ status, stderr }).toEqual({ status: 0, stderr: '' });
    expect(stdout).toMatch(new RegExp(`^Usage: nestling ${command}`));
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(120);
  });

  it.each([[['--version']], [['-V']], [['run', '-V']], [['run', '--version']]])('%j', async (args) => {
    expect(await nestling(args)).toMatchObject({ status: 0, stdout: expect.stringMatching(/^nestling \d+\.\d+\.\d+/) });
  });

  it('virt-qemu-run’s options are all there', async () => {
    const { stdout } = await nestling(['run', '--help']);
    for (const option of ['-r, --root', '-s, --secret', '-v, --verbose', '-d, --debug', '-h, --help', '-V, --version'])
      expect(stdout).toContain(option);
  });

  it.each(['capabilities', 'domcapabilities', 'gc'])('%s refuses what it does not know', async (command) => {
    for (const wrong of ['--foo', 'foo']) {
      const { status, stderr } = await nestling([command, wrong]);
      expect(status).toBe(2);
      expect(stderr).toContain(wrong);
      expect(stderr).toContain(`Try 'nestling ${command} --help'.\n`);
    }
  });
});

describe('capabilities', () => {
  it('are XML of the host', async () => {
    const { status, stdout } = await nestling(['capabilities']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^<capabilities>\n[\s\S]*<emulator>[\s\S]*<\/capabilities>\n$/);
  });

  it('with --host plans for a host that is not this one', async () => {
    const capabilities = new URL('../fixtures/capabilities/qemu-7.2-x86_64.json', import.meta.url).pathname;
    const host = join(scratch, 'host.json');
    writeFileSync(
      host,
      JSON.stringify({ config: { hugetlbfsMounts: [{ path: '/elsewhere', sizeKiB: 2048, default: true }] } }),
    );
    const guest = await writeGuest(scratch, 'halt', {
      name: 'huge',
      extra: '<memoryBacking><hugepages/></memoryBacking>',
    });
    const native = ['domxml-to-native', 'qemu-argv', guest];
    const { status, stdout } = await nestling([...native, '--capabilities', capabilities, '--host', host]);
    expect(status).toBe(0);
    expect(stdout).toContain('/elsewhere/libvirt/qemu/-1-huge');
    expect(await nestling([...native, '--host', host])).toMatchObject({
      status: 2,
      stderr: expect.stringContaining('--host goes with --capabilities'),
    });
    writeFileSync(host, '[]');
    const wrong = await nestling([...native, '--capabilities', capabilities, '--host', host]);
    expect(wrong).toMatchObject({ status: 2, stderr: expect.stringContaining('holds no JSON object') });
  });

  it('as JSON are a file that domxml-to-native takes', async () => {
    const { status, stdout } = await nestling(['capabilities', '--json']);
    expect(status).toBe(0);
    const file = join(scratch, 'capabilities.json');
    writeFileSync(file, stdout);
    const guest = await writeGuest(scratch, 'halt');
    const here = await nestling(['domxml-to-native', 'qemu-argv', guest]);
    expect(here.status, here.stderr).toBe(0);
    expect(here.stdout).toContain('-machine pc-q35-');
    // The UUID is drawn anew each time, for the definition names none.
    const withoutUuid = (text: string): string => text.replace(/-uuid \S+/, '');
    const there = await nestling(['domxml-to-native', 'qemu-argv', '--capabilities', file, guest]);
    expect(withoutUuid(there.stdout)).toBe(withoutUuid(here.stdout));
  });

  it('of a domain are XML about one emulator', async () => {
    const { status, stdout } = await nestling(['domcapabilities', '--virttype', 'qemu', '--machine', 'pc']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^<domainCapabilities>\n[\s\S]*<domain>qemu<\/domain>[\s\S]*<\/domainCapabilities>\n$/);
  });
});

describe('domxml-to-native', () => {
  it.each([
    [[], "the format must be qemu-argv or lxc-tools, not ''"],
    [['xen-xm', 'x'], "the format must be qemu-argv or lxc-tools, not 'xen-xm'"],
    [['qemu-argv'], 'XML is missing'],
    [['qemu-argv', '/nonexistent.xml'], 'cannot read /nonexistent.xml: no such file or directory'],
    [['qemu-argv', '--capabilities', '/etc/hostname', '/dev/null'], '/etc/hostname is no JSON'],
    [['qemu-argv', '--capabilities', '/dev/null', '/dev/null'], '/dev/null is no JSON'],
  ])('%j: 2', async (args, message) => {
    const { status, stderr } = await nestling(['domxml-to-native', ...args]);
    expect(status).toBe(2);
    expect(stderr).toContain(`nestling domxml-to-native: ${message}`);
  });

  it('invalid XML: 2, with the position', async () => {
    const path = join(scratch, 'faulty.xml');
    writeFileSync(path, readFileSync(await writeGuest(scratch, 'halt'), 'utf8').replace('<vcpu>1<', '<vcpu>many<'));
    const { status, stderr } = await nestling(['domxml-to-native', 'qemu-argv', path]);
    expect(status).toBe(2);
    expect(stderr).toMatch(/faulty\.xml:\d+:\d+: domain\/vcpu: value 'many'/);
  });
});

describe('gc', () => {
  it('has nothing to do when nobody died', async () => {
    await nestling(['gc']);
    expect(await nestling(['gc', '--json'])).toMatchObject({ status: 0, stdout: expect.stringMatching(/^\{.*\}\n$/) });
  });
});
