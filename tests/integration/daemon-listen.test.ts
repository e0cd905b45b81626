/** Where the daemon listens and whom it lets in: libvirt's own places, TLS with certificates, SASL, sockets of others. */
import { execFile, execFileSync, spawn } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { setSaslUser } from '../../src/daemon/sasl-users.ts';
import { connect, ErrorCode } from '../../src/index.ts';
import { startDaemon, type TestDaemon } from '../support/daemon.ts';
import { freePort } from '../support/free-port.ts';

const CLI = fileURLToPath(new URL('../../dist/cli.cjs', import.meta.url));
const run = promisify(execFile);

/** A CA with a server's and a client's certificate, as libvirt's clients look for them. */
function makePki(dir: string, client = 'client one'): void {
  mkdirSync(dir, { recursive: true });
  const openssl = (...args: string[]): void => void execFileSync('openssl', args, { cwd: dir, stdio: 'ignore' });
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];
  openssl('req', '-x509', ...key, '-keyout', 'cakey.pem', '-out', 'cacert.pem', '-subj', '/CN=CA');
  for (const [name, subject, extension] of [
    ['server', '/O=Test/CN=localhost', 'subjectAltName=DNS:localhost,IP:127.0.0.1'],
    ['client', `/O=Test/CN=${client}`, 'extendedKeyUsage=clientAuth'],
  ] as const) {
    const signed = [
      '-CA',
      'cacert.pem',
      '-CAkey',
      'cakey.pem',
      '-addext',
      'basicConstraints=critical,CA:FALSE',
      '-addext',
      extension,
    ];
    openssl(
      'req',
      '-x509',
      ...key,
      ...signed,
      '-keyout',
      `${name}key.pem`,
      '-out',
      `${name}cert.pem`,
      '-subj',
      subject,
    );
  }
}

describe('nestling daemon --listen-tls', () => {
  let dir: string;
  let port: number;
  let daemon: TestDaemon;
  const start = async (more: string): Promise<void> => {
    const config = join(dir, 'daemon.conf');
    const pki = join(dir, 'ours');
    writeFileSync(
      config,
      `listen_addr = "127.0.0.1"\ntls_port = "${port}"\nca_file = "${pki}/cacert.pem"\ncert_file = "${pki}/servercert.pem"\n` +
        `key_file = "${pki}/serverkey.pem"\n${more}\n`,
    );
    daemon = await startDaemon(['--listen-tls', '--config', config]);
  };
  const uriOf = (pki: string): string => `qemu+tls://localhost:${port}/system?pkipath=${join(dir, pki)}`;

  beforeAll(async () => {
    dir = mkdtempSync(join(tmpdir(), 'tls-'));
    makePki(join(dir, 'ours'));
    makePki(join(dir, 'theirs'));
    port = await freePort();
  });
  afterAll(() => rmSync(dir, { recursive: true }));

  it('serves those with a certificate of its CA, virsh too', async () => {
    await start('tls_allowed_dn_list = ["*CN=client *"]');
    try {
      const connection = await connect(uriOf('ours'));
      expect(await connection.listAllDomains()).toEqual([]);
      await connection.close();
      const { stdout } = await run('virsh', ['-c', uriOf('ours'), 'list', '--all']);
      expect(stdout).toContain('Name');
      // A CA of their own: neither side is fooled.
      await expect(connect(uriOf('theirs'))).rejects.toMatchObject({ code: ErrorCode.NO_CONNECT });
      await expect(connect(`${uriOf('theirs')}&no_verify=1`)).rejects.toMatchObject({ code: ErrorCode.NO_CONNECT });
      await expect(run('virsh', ['-c', uriOf('theirs'), 'list'])).rejects.toThrow(/certificate/);
    } finally {
      await daemon[Symbol.asyncDispose]();
    }
  });

  it('refuses a certificate whose name is not among those allowed', async () => {
    await start('tls_allowed_dn_list = ["*CN=somebody else"]');
    try {
      await expect(connect(uriOf('ours'))).rejects.toMatchObject({ code: ErrorCode.NO_CONNECT });
    } finally {
      await daemon[Symbol.asyncDispose]();
    }
  });

  it('asks for a password as well, of virsh too', async () => {
    await setSaslUser(join(dir, 'users'), 'fred', 'sesame');
    await start(`auth_tls = "sasl"\nsasl_users_file = "${dir}/users"`);
    try {
      const auth = join(dir, 'auth.conf');
      const list = async (password: string): Promise<string> => {
        writeFileSync(
          auth,
          `[credentials-one]\nauthname=fred\npassword=${password}\n[auth-libvirt-localhost]\ncredentials=one\n`,
        );
        return (await run('virsh', ['-c', `${uriOf('ours')}&authfile=${auth}`, 'list', '--all'])).stdout;
      };
      expect(await list('sesame')).toContain('Name');
      await expect(list('wrong')).rejects.toThrow(/authentication failed/);
      const credentials = { username: 'fred', password: 'sesame' };
      await (await connect(uriOf('ours'), { credentials })).close();
    } finally {
      await daemon[Symbol.asyncDispose]();
    }
  });
});

describe('nestling daemon --listen-tcp', () => {
  it('lets in whom its users file knows, by SCRAM-SHA-256', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'sasl-'));
    const port = await freePort();
    await setSaslUser(join(dir, 'users'), 'fred', 'sesame');
    const config = join(dir, 'daemon.conf');
    writeFileSync(
      config,
      `listen_addr = "127.0.0.1"\ntcp_port = "${port}"\nsasl_users_file = "${dir}/users"\nsasl_allowed_username_list = ["fred"]\n`,
    );
    const daemon = await startDaemon(['--listen-tcp', '--config', config]);
    try {
      const uri = `qemu+tcp://localhost:${port}/system`;
      const connection = await connect(uri, { credentials: { username: 'fred', password: 'sesame' } });
      expect(await connection.listAllDomains()).toEqual([]);
      await connection.close();
      for (const credentials of [
        { username: 'fred', password: 'wrong' },
        { username: 'nobody', password: 'sesame' },
      ]) {
        await expect(connect(uri, { credentials })).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
      }
    } finally {
      await daemon[Symbol.asyncDispose]();
      rmSync(dir, { recursive: true });
    }
  });
});

describe('nestling daemon', () => {
  it("is where libvirt's clients look, in a host of its own", async () => {
    // The host's own folders are covered, not touched.
    const script = `
      set -e
      T=$2; mount -t tmpfs none $T
      for d in etc var; do mkdir $T/$d $T/$d.work; mount -t overlay -o lowerdir=/$d,upperdir=$T/$d,workdir=$T/$d.work none /$d; done
      mount -t tmpfs none /run
      "$1" daemon -d
      virsh -c qemu:///system uri
      stat -c '%a %n' /run/libvirt/libvirt-sock /run/libvirt/libvirt-sock-ro /run/libvirt/virtqemud-sock /run/libvirtd.pid
      echo "<domain type='qemu'><name>x</name><memory unit='MiB'>32</memory><os><type>hvm</type></os></domain>" > $T/x.xml
      virsh -c qemu:///system define $T/x.xml
      virsh -c qemu:///system start x
      virsh -r -c qemu:///system destroy x 2>&1 || echo refused
      kill -KILL $(cat /run/libvirtd.pid)
      "$1" daemon -d
      virsh -c qemu:///system domstate x
      virsh -c qemu:///system destroy x
      ls /etc/nestling/qemu/x.xml /var/log/nestling/qemu/x.log
      P=$(cat /run/libvirtd.pid); kill $P; while kill -0 $P 2>/dev/null; do sleep 0.05; done
      ls /run/libvirt /run/nestling
`;
    const scratch = mkdtempSync(join(tmpdir(), 'host-'));
    const { stdout } = await run('unshare', ['-m', 'sh', '-c', script, 'sh', CLI, scratch]);
    rmdirSync(scratch);
    const lines = stdout.split('\n').filter((line) => line.trim() !== '');
    expect(lines).toEqual([
      'qemu:///system',
      '700 /run/libvirt/libvirt-sock',
      '777 /run/libvirt/libvirt-sock-ro',
      '700 /run/libvirt/virtqemud-sock',
      '644 /run/libvirtd.pid',
      expect.stringMatching(/^Domain 'x' defined from/),
      "Domain 'x' started",
      expect.stringContaining('Failed to destroy domain'),
      expect.stringContaining('read only access'),
      'refused',
      'running',
      "Domain 'x' destroyed",
      '/etc/nestling/qemu/x.xml',
      '/var/log/nestling/qemu/x.log',
      '/run/libvirt:',
      '/run/nestling:',
      expect.stringMatching(/^d-/),
    ]);
  });

  it('takes a socket that is open already, says when it is ready, and ends when nobody needs it', async () => {
    const dir = mkdtempSync(join(tmpdir(), 'activated-'));
    const port = await freePort();
    const config = join(dir, 'daemon.conf');
    writeFileSync(config, 'auth_tcp = "none"\n');
    const server = createServer().listen(port, '127.0.0.1');
    await new Promise((resolve) => server.once('listening', resolve));
    const handle: unknown = Reflect.get(server, '_handle');
    const fd: unknown = typeof handle === 'object' && handle !== null ? Reflect.get(handle, 'fd') : undefined;
    const child = spawn(
      'sh',
      // The pid that is named must be the daemon's own: the shell becomes it.
      [
        '-c',
        'LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" daemon --state-dir "$1" --config "$2" --timeout 1',
        CLI,
        join(dir, 'state'),
        config,
      ],
      { stdio: ['ignore', 'ignore', 'pipe', typeof fd === 'number' ? fd : 'ignore'] },
    );
    // From now on it is the daemon's alone.
    server.close();
    const ended = new Promise((resolve) => child.once('exit', resolve));
    await new Promise<void>((resolve) => {
      child.stderr?.on('data', (chunk: Buffer) => {
        if (chunk.toString().includes('listening on fd 3')) resolve();
      });
    });
    const connection = await connect(`qemu+tcp://127.0.0.1:${port}/system`);
    expect(await connection.listAllDomains()).toEqual([]);
    await connection.close();
    expect(await ended).toBe(0);
    expect(existsSync(join(dir, 'state', 'run', 'daemon.pid'))).toBe(false);
    rmSync(dir, { recursive: true });
  });
});
