/** A Debian mirror of one tiny package: files in a folder, signed by a key of its own where one is asked for, and served on the loopback interface. */
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { join, resolve } from 'node:path';

export interface MirrorSpec {
  /** Of the package `tiny`. */
  readonly version: string;
  readonly suite?: string;
  readonly architecture?: string;
  /** In years; what was signed ten years ago was valid for a week. */
  readonly ageYears?: number;
  readonly key?: SigningKey;
}

/** @returns the mirror's folder, for `file:` */
export function writeMirror(
  folder: string,
  { version, suite = 'bookworm', architecture = 'amd64', ageYears = 0, key }: MirrorSpec,
): void {
  const source = join(folder, `.source-${version}`);
  const control = `Package: tiny\nVersion: ${version}\nArchitecture: ${architecture}\nMaintainer: x <x@example.org>\nDescription: x\n`;
  mkdirSync(join(source, 'DEBIAN'), { recursive: true });
  writeFileSync(join(source, 'DEBIAN/control'), control);
  writeFileSync(join(source, 'tiny'), version);
  const dist = join(folder, 'dists', suite);
  const index = `main/binary-${architecture}/Packages`;
  mkdirSync(join(dist, index, '..'), { recursive: true });
  execFileSync('dpkg-deb', ['--build', '--root-owner-group', source, join(folder, 'tiny.deb')]);
  const deb = readFileSync(join(folder, 'tiny.deb'));
  const packages = `${control}Filename: tiny.deb\nSize: ${deb.length}\nSHA256: ${sha256(deb)}\n\n`;
  writeFileSync(join(dist, index), packages);
  const made = new Date();
  made.setUTCFullYear(made.getUTCFullYear() - ageYears);
  // Clocks may differ a little.
  made.setUTCHours(made.getUTCHours() - 1);
  const valid = new Date(made.getTime() + 7 * 24 * 3600 * 1000);
  const fields = {
    Origin: 'Tiny',
    Suite: suite,
    Codename: suite,
    Architectures: architecture,
    Components: 'main',
    Date: made.toUTCString().replace('GMT', 'UTC'),
    'Valid-Until': valid.toUTCString().replace('GMT', 'UTC'),
  };
  const head = Object.entries(fields).map(([name, value]) => `${name}: ${value}\n`);
  writeFileSync(
    join(dist, 'Release'),
    `${head.join('')}SHA256:\n ${sha256(Buffer.from(packages))} ${packages.length} ${index}\n`,
  );
  rmSync(join(dist, 'InRelease'), { force: true });
  key?.sign(join(dist, 'Release'), join(dist, 'InRelease'));
}

export interface SigningKey extends Disposable {
  /** For `--keyring`. */
  readonly keyring: string;
  sign(file: string, signed: string): void;
}

/** Needs gpg. The key is new, and its agent ends with the scope. */
export function makeSigningKey(folder: string): SigningKey {
  const home = mkdtempSync(join(folder, 'gpg-'));
  const gpg = (...args: readonly string[]): Buffer =>
    execFileSync('gpg', ['--homedir', home, '--batch', '--quiet', '--yes', '--passphrase', '', ...args], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
  gpg('--quick-generate-key', 'Tiny Mirror <tiny@example.org>', 'ed25519', 'sign', 'never');
  const keyring = join(home, 'tiny.gpg');
  writeFileSync(keyring, gpg('--export'), { mode: 0o644 });
  return {
    keyring,
    sign: (file, signed) => void gpg('--clearsign', '--output', signed, file),
    [Symbol.dispose]: () => {
      execFileSync('gpgconf', ['--homedir', home, '--kill', 'all']);
      rmSync(home, { recursive: true, force: true });
    },
  };
}

export interface ServedMirror extends AsyncDisposable {
  readonly url: string;
  /** Paths that were asked for. */
  readonly asked: readonly string[];
}

export async function serveMirror(folder: string): Promise<ServedMirror> {
  const asked: string[] = [];
  const server = createServer((request, response) => {
    const path = new URL(request.url ?? '/', 'http://mirror').pathname;
    asked.push(path);
    const file = resolve(join(folder, path));
    try {
      response.end(readFileSync(file));
    } catch {
      response.writeHead(404).end();
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const address = server.address();
  if (address === null || typeof address === 'string') throw new Error('the mirror has no port');
  return {
    url: `http://127.0.0.1:${address.port}`,
    asked,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((done) => server.close(done));
    },
  };
}

function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}
