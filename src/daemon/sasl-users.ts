/**
 * Users of SASL in a file, one a line: `NAME:SCRAM-SHA-256$ITERATIONS:SALT$STOREDKEY:SERVERKEY`, the last three in base64. The passwords
 * cannot be read from it.
 */
import { readFileSync } from 'node:fs';
import { writeFileAtomic } from '../core/fs.ts';
import { makeVerifier, SCRAM_MECHANISM, type ScramVerifier } from '../rpc/sasl/scram.ts';

/** @throws the system's error, or TypeError for a line that is none */
export function readSaslUsers(path: string): ReadonlyMap<string, ScramVerifier> {
  const users = new Map<string, ScramVerifier>();
  readFileSync(path, 'utf8')
    .split('\n')
    .forEach((line, index) => {
      if (line.trim() === '' || line.startsWith('#')) return;
      const match = /^([^:]+):SCRAM-SHA-256\$(\d+):([\w+/=]+)\$([\w+/=]+):([\w+/=]+)$/.exec(line.trim());
      if (match === null) throw new TypeError(`${path}:${index + 1}: not NAME:SCRAM-SHA-256$…`);
      const [, name = '', iterations = '', salt = '', storedKey = '', serverKey = ''] = match;
      users.set(name, {
        iterations: Number(iterations),
        salt: Buffer.from(salt, 'base64'),
        storedKey: Buffer.from(storedKey, 'base64'),
        serverKey: Buffer.from(serverKey, 'base64'),
      });
    });
  return users;
}

/** Adds a user or gives it a new password. The file is private: from it passwords could be guessed at leisure. */
export async function setSaslUser(path: string, name: string, password: string): Promise<void> {
  if (!/^[^:\s]+$/.test(name)) throw new TypeError(`'${name}' is no user name: no colon, no blank`);
  const text = (bytes: Uint8Array): string => Buffer.from(bytes).toString('base64');
  const { iterations, salt, storedKey, serverKey } = makeVerifier(password);
  const line = `${name}:${SCRAM_MECHANISM}$${iterations}:${text(salt)}$${text(storedKey)}:${text(serverKey)}`;
  const others = readOrEmpty(path)
    .split('\n')
    .filter((one) => one !== '' && !one.startsWith(`${name}:`));
  await writeFileAtomic(path, `${[...others, line].join('\n')}\n`, { mode: 0o600 });
}

function readOrEmpty(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return '';
    throw error;
  }
}
