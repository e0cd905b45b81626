import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { parseUri, type RemoteUri } from '../../api/uri.ts';
import { ErrorCode } from '../../core/errors.ts';
import { fakeXml } from '../testing/fake-driver.ts';
import { type ServedDriver, serveFake } from '../testing/served-driver.ts';
import { RemoteDriver } from './remote-driver.ts';
import { openTransport } from './transport.ts';
import { commandLine, remoteScript } from './transport-command.ts';
import { pkiFiles } from './transport-tls.ts';
import { socketPath } from './transport-unix.ts';

function remote(text: string): RemoteUri {
  const uri = parseUri(text);
  if (uri.kind !== 'remote') throw new Error(`${text} is ${uri.kind}`);
  return uri;
}

/** A socket whose owner has died. */
function leaveSocket(path: string): void {
  const code = `require('net').createServer().listen(process.argv[1], () => process.kill(process.pid, 'SIGKILL'))`;
  expect(spawnSync(process.execPath, ['-e', code, path]).signal).toBe('SIGKILL');
}

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'nestling-transport-'));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

describe('the socket of a local URI', () => {
  const there = (...paths: string[]) => ({
    systemDir: '/run/libvirt',
    sessionDir: '/run/user/7/libvirt',
    exists: (path: string) => paths.includes(path),
  });

  it.each<[string, boolean, string[], string]>([
    ['qemu:///system', false, [], '/run/libvirt/libvirt-sock'],
    ['qemu:///system', true, [], '/run/libvirt/libvirt-sock-ro'],
    ['qemu:///system', false, ['/run/libvirt/virtqemud-sock'], '/run/libvirt/virtqemud-sock'],
    ['qemu:///system', true, ['/run/libvirt/virtqemud-sock'], '/run/libvirt/libvirt-sock-ro'],
    ['qemu:///system', true, ['/run/libvirt/virtqemud-sock-ro'], '/run/libvirt/virtqemud-sock-ro'],
    ['qemu:///system?mode=legacy', false, ['/run/libvirt/virtqemud-sock'], '/run/libvirt/libvirt-sock'],
    ['qemu:///system?mode=direct', false, [], '/run/libvirt/virtqemud-sock'],
    ['qemu:///session', false, [], '/run/user/7/libvirt/libvirt-sock'],
    ['qemu:///session', true, [], '/run/user/7/libvirt/libvirt-sock'],
    ['qemu+unix:///system', false, [], '/run/libvirt/libvirt-sock'],
    ['lxc:///system', false, ['/run/libvirt/virtlxcd-sock'], '/run/libvirt/virtlxcd-sock'],
    ['nwfilter:///system?mode=direct', false, [], '/run/libvirt/virtnwfilterd-sock'],
    ['qemu:///system?socket=/tmp/mine', true, ['/run/libvirt/virtqemud-sock'], '/tmp/mine'],
  ])('%s (read-only: %s, there: %j) is %s', (uri, readOnly, paths, expected) => {
    expect(socketPath(remote(uri), readOnly, there(...paths))).toBe(expected);
  });

  it('that is not there says who would have made it', async () => {
    const uri = remote(`qemu:///system?socket=${dir}/none`);
    await expect(openTransport(uri, { readOnly: false })).rejects.toMatchObject({
      code: ErrorCode.NO_CONNECT,
      message: `cannot connect to qemu:///system: nothing listens at ${dir}/none: start what makes it: nestling daemon, 'nestling run --listen', or conn.serve()`,
    });
  });

  it('of a daemon that does not run says how to start it', async () => {
    vi.stubEnv('XDG_RUNTIME_DIR', dir);
    try {
      await expect(openTransport(remote('qemu:///session'), { readOnly: false })).rejects.toMatchObject({
        message: `cannot connect to qemu:///session: no daemon listens at ${dir}/libvirt/libvirt-sock: start 'nestling daemon --session' or libvirtd, or use qemu:///embed, which needs none`,
      });
    } finally {
      vi.unstubAllEnvs();
    }
  });

  it('whose daemon has died says that it is gone', async () => {
    const path = join(dir, 'stale');
    leaveSocket(path);
    await expect(openTransport(remote(`qemu:///system?socket=${path}`), { readOnly: false })).rejects.toMatchObject({
      code: ErrorCode.NO_CONNECT,
      message: expect.stringContaining(`the daemon of ${path} is gone`) as string,
    });
  });

  it('is not waited for when the signal is given already, or comes', async () => {
    const path = join(dir, 's');
    const listener = createServer().listen(path);
    const uri = remote(`qemu:///system?socket=${path}`);
    const reason = new Error('no longer wanted');
    await expect(openTransport(uri, { readOnly: false, signal: AbortSignal.abort(reason) })).rejects.toBe(reason);
    const abort = new AbortController();
    const opening = RemoteDriver.open(uri, { signal: abort.signal });
    listener.once('connection', () => abort.abort(reason));
    await expect(opening).rejects.toBe(reason);
    listener.close();
  });
});

describe('the command of an ssh URI', () => {
  /** Options and host, without the script. */
  function words(text: string): string[] {
    return commandLine(remote(text), false).slice(0, -1);
  }

  it.each<[string, string[]]>([
    ['qemu+ssh://host/system', ['ssh', '-T', '-e', 'none', '--', 'host']],
    ['qemu+ssh://ada@host:2222/system', ['ssh', '-T', '-e', 'none', '-p', '2222', '-l', 'ada', '--', 'host']],
    ['qemu+ssh://host/system?keyfile=/k%20ey', ['ssh', '-T', '-e', 'none', '-i', '/k ey', '--', 'host']],
    ['qemu+ssh://host/system?command=/opt/ssh', ['/opt/ssh', '-T', '-e', 'none', '--', 'host']],
    ['qemu+ssh://host/system?no_tty=1', ['ssh', '-T', '-e', 'none', '-o', 'BatchMode=yes', '--', 'host']],
    [
      'qemu+ssh://host/system?no_verify=1&known_hosts_verify=normal',
      ['ssh', '-T', '-e', 'none', '-o', 'StrictHostKeyChecking=no', '--', 'host'],
    ],
    [
      'qemu+ssh://host/system?known_hosts=/kh&known_hosts_verify=auto',
      [
        'ssh',
        '-T',
        '-e',
        'none',
        '-o',
        'StrictHostKeyChecking=accept-new',
        '-o',
        'UserKnownHostsFile=/kh',
        '--',
        'host',
      ],
    ],
    [
      'qemu+ssh://host/system?sshauth=agent,privkey,password',
      ['ssh', '-T', '-e', 'none', '-o', 'PreferredAuthentications=publickey,password', '--', 'host'],
    ],
    ['qemu+libssh2://host/system', ['ssh', '-T', '-e', 'none', '--', 'host']],
    ['qemu+ssh://[fe80::1]/system', ['ssh', '-T', '-e', 'none', '--', 'fe80::1']],
  ])('%s', (uri, expected) => {
    expect(words(uri)).toEqual(expected);
  });

  it('keeps a host that looks like an option a host', () => {
    const line = words('qemu+ssh://-oProxyCommand=x/system');
    expect(line.slice(line.indexOf('--'))).toEqual(['--', '-oProxyCommand=x']);
  });

  it('is nothing but the program, for ext', () => {
    expect(commandLine(remote('qemu+ext:///system?command=/opt/x'), true)).toEqual(['/opt/x']);
  });
});

describe('what ssh runs on the other side', () => {
  let bin: string;
  beforeEach(() => {
    bin = join(dir, 'bin');
    mkdirSync(bin);
    // Nothing of this host's but what any host has: it may have a helper and a netcat itself.
    for (const name of ['sh', 'grep', 'id', 'touch']) {
      const found = [`/usr/bin/${name}`, `/bin/${name}`].find((path) => existsSync(path));
      if (found !== undefined) symlinkSync(found, join(bin, name));
    }
  });

  function program(name: string, script: string): void {
    writeFileSync(join(bin, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(bin, name), 0o755);
  }
  /** Both kinds of netcat: the one that must be told to end with its input, and the other. */
  function netcat(name = 'nc', knowsQuit = true): void {
    const quit = knowsQuit
      ? `if [ "$*" = -q ]; then echo "nc: option requires an argument -- 'q'" >&2; exit 1; fi;`
      : '';
    program(name, `${quit} if [ "$*" = -q ]; then echo usage >&2; exit 1; fi; printf '${name}'; printf ' <%s>' "$@"`);
  }
  /** As the other side's shell runs it. */
  function run(uri: string, { readOnly = false, env = {} } = {}): string {
    const line = commandLine(remote(uri), readOnly).at(-1) ?? '';
    return execFileSync('/bin/sh', ['-c', line], { env: { PATH: bin, ...env }, encoding: 'utf8' });
  }

  it("is libvirt's helper where there is one", () => {
    program('virt-ssh-helper', `printf 'helper'; printf ' <%s>' "$@"`);
    netcat();
    expect(run('qemu+ssh://host/system')).toBe('helper <qemu:///system>');
    expect(run('qemu+ssh://host/system', { readOnly: true })).toBe('helper <-r> <qemu:///system>');
    expect(run('qemu+ssh://host/session?proxy=native')).toBe('helper <qemu:///session>');
  });

  it('hands the URI over as one word, whatever is in it', () => {
    program('virt-ssh-helper', `printf 'helper'; printf ' <%s>' "$@"`);
    const evil = `a'; touch ${dir}/broken; echo '$(touch ${dir}/broken)`;
    expect(run(`qemu+ssh://host/system?name=${encodeURIComponent(evil)}`)).toBe(`helper <${evil}>`);
    expect(() => execFileSync('ls', [`${dir}/broken`], { stdio: 'ignore' })).toThrow();
  });

  it('is netcat where there is none, or where it is asked for', () => {
    netcat();
    const socket = '<-q0> <-U> </run/libvirt/libvirt-sock>';
    expect(run('qemu+ssh://host/system?mode=legacy')).toBe(`nc ${socket}`);
    expect(run('qemu+ssh://host/system?mode=legacy', { readOnly: true })).toBe(
      `nc ${socket.replace('sock>', 'sock-ro>')}`,
    );
    program('virt-ssh-helper', 'echo wrong');
    expect(run('qemu+ssh://host/system?mode=legacy&proxy=netcat')).toBe(`nc ${socket}`);
    netcat('ncat');
    expect(run('qemu+ssh://host/system?mode=legacy&netcat=ncat')).toBe(`ncat ${socket}`);
  });

  it('does not give netcat an option that it does not know', () => {
    netcat('nc', false);
    expect(run('qemu+ssh://host/system?mode=direct')).toBe('nc <-U> </run/libvirt/virtqemud-sock>');
  });

  it('takes the socket that is named, as one word', () => {
    netcat();
    const path = `${dir}/it's a socket`;
    expect(run(`qemu+ssh://host/system?socket=${encodeURIComponent(path)}`)).toBe(`nc <-q0> <-U> <${path}>`);
  });

  it("takes the user's own daemon for a session", () => {
    netcat();
    const env = { XDG_RUNTIME_DIR: `${dir}/run time` };
    expect(run('qemu+ssh://host/session?mode=direct', { env })).toBe(
      `nc <-q0> <-U> <${dir}/run time/libvirt/virtqemud-sock>`,
    );
    expect(run('qemu+ssh://host/session', { env, readOnly: true })).toBe(
      `nc <-q0> <-U> <${dir}/run time/libvirt/libvirt-sock>`,
    );
  });

  it("prefers the driver's own daemon where its socket is there", () => {
    netcat();
    mkdirSync(join(dir, 'libvirt'));
    const path = join(dir, 'libvirt/virtqemud-sock');
    leaveSocket(path);
    expect(run('qemu+ssh://host/session', { env: { XDG_RUNTIME_DIR: dir } })).toBe(`nc <-q0> <-U> <${path}>`);
  });

  it('is one line that any login shell takes', () => {
    expect(remoteScript(remote('qemu+ssh://host/system'), false)).not.toContain('\n');
  });
});

describe('a connection through a program', () => {
  let served: ServedDriver;
  beforeEach(async () => {
    served = await serveFake();
    await served.driver.defineDomain(fakeXml('vm'));
  });
  afterEach(async () => await served[Symbol.asyncDispose]());

  function program(name: string, text: string): string {
    const path = join(dir, name);
    writeFileSync(path, text);
    chmodSync(path, 0o755);
    return path;
  }
  /** A netcat of this test's own. */
  function netcat(): string {
    const script = `
      const socket = require('net').connect(process.argv.at(-1));
      process.stdin.pipe(socket);
      socket.pipe(process.stdout);
      socket.on('close', () => process.exit(0));
      socket.on('error', (error) => { console.error(error.message); process.exit(1); });`;
    return program('nc', `#!/bin/sh\n[ "$*" = -q ] && exit 1\nexec '${process.execPath}' -e "${script}" -- "$@"\n`);
  }

  it('serves a driver behind ssh', async () => {
    const nc = encodeURIComponent(netcat());
    // ssh without the network: it runs the last word as the other side's shell would.
    const ssh = program('ssh', '#!/bin/sh\nfor last; do :; done\nexec sh -c "$last"\n');
    const uri = remote(`qemu+ssh://host/fake?command=${ssh}&netcat=${nc}&socket=${encodeURIComponent(served.path)}`);
    const driver = await RemoteDriver.open(uri);
    await expect(driver.listDomains({})).resolves.toMatchObject([{ name: 'vm' }]);
    await driver[Symbol.asyncDispose]();
  });

  it('serves a driver behind any program', async () => {
    const nc = netcat();
    const command = program('link', `#!/bin/sh\nexec ${nc} -U '${served.path}'\n`);
    const driver = await RemoteDriver.open(remote(`qemu+ext:///fake?command=${encodeURIComponent(command)}`));
    await expect(driver.version()).resolves.toBe(2);
    await driver[Symbol.asyncDispose]();
  });

  it('that ends at once fails with what the program said', async () => {
    const command = program('ssh', '#!/bin/sh\necho "Permission denied (publickey)." >&2\nexit 255\n');
    const uri = remote(`qemu+ssh://host/system?command=${encodeURIComponent(command)}`);
    await expect(RemoteDriver.open(uri)).rejects.toThrow('Permission denied (publickey).');
  });

  it('says which program is missing', async () => {
    const uri = remote(`qemu+ssh://host/system?command=${encodeURIComponent(join(dir, 'no-ssh'))}`);
    await expect(RemoteDriver.open(uri)).rejects.toMatchObject({
      code: ErrorCode.NO_CONNECT,
      message: expect.stringContaining('no-ssh') as string,
    });
  });
});

describe('the certificates of a TLS connection', () => {
  const host = {
    ca: '/etc/pki/CA/cacert.pem',
    cert: '/etc/pki/libvirt/clientcert.pem',
    key: '/etc/pki/libvirt/private/clientkey.pem',
  };
  const own = {
    ca: '/home/ada/.pki/libvirt/cacert.pem',
    cert: '/home/ada/.pki/libvirt/clientcert.pem',
    key: '/home/ada/.pki/libvirt/clientkey.pem',
  };
  function chosen(uid: number, ...there: string[]) {
    return pkiFiles(undefined, { home: '/home/ada', uid, exists: (path) => there.includes(path) });
  }

  it("are the host's for root, whatever else there is", () => {
    expect(chosen(0, own.ca, own.cert, own.key)).toEqual(host);
  });
  it("are a user's own where they are there", () => {
    expect(chosen(7, own.ca, own.cert, own.key)).toEqual(own);
    expect(chosen(7)).toEqual(host);
  });
  it("are a user's own only as a pair; the CA is chosen for itself", () => {
    expect(chosen(7, own.cert)).toEqual(host);
    expect(chosen(7, own.ca, own.key)).toEqual({ ...host, ca: own.ca });
    expect(chosen(7, own.cert, own.key)).toEqual({ ...own, ca: host.ca });
  });
  it('are all in one folder where the URI names it', () => {
    expect(pkiFiles('/p', { home: '/home/ada', uid: 0, exists: () => false })).toEqual({
      ca: '/p/cacert.pem',
      cert: '/p/clientcert.pem',
      key: '/p/clientkey.pem',
    });
  });

  it('must be there, by the name that the error says', async () => {
    const uri = remote(`qemu+tls://localhost/system?pkipath=${dir}`);
    await expect(openTransport(uri, { readOnly: false })).rejects.toMatchObject({
      code: ErrorCode.NO_CONNECT,
      message: expect.stringContaining(`cannot read ${dir}/cacert.pem: ENOENT`) as string,
    });
  });

  it("are not chosen in GnuTLS's language", async () => {
    const uri = remote('qemu+tls://localhost/system?tls_priority=NORMAL');
    await expect(openTransport(uri, { readOnly: false })).rejects.toThrow('tls_priority');
  });
});

describe('a TCP connection', () => {
  it('that nobody takes says so, with host and port', async () => {
    const listener = createServer().listen(0, '127.0.0.1');
    await new Promise((resolve) => listener.once('listening', resolve));
    const address = listener.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await new Promise((resolve) => listener.close(resolve));
    await expect(
      openTransport(remote(`qemu+tcp://127.0.0.1:${port}/system`), { readOnly: false }),
    ).rejects.toMatchObject({
      code: ErrorCode.NO_CONNECT,
      message: expect.stringContaining(`127.0.0.1 port ${port}: ECONNREFUSED`) as string,
    });
  });
});
