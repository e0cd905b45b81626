/** QEMU's TLS credentials: one object per server or client, with the certificates in a folder of fixed file names. */
import type { PlanContext } from '../context.ts';
import type { Part } from '../plan/parts.ts';
import { planSecret } from './secret.ts';

export interface TlsCredentials {
  readonly id: string;
  /** Folder with ca-cert.pem, server-cert.pem, … */
  readonly dir: string;
  readonly endpoint: 'client' | 'server';
  readonly verifyPeer: boolean;
  /** GnuTLS priority string. */
  readonly priority?: string | undefined;
  /** UUID of the secret that opens the private key, and the id of the object to make of it. */
  readonly keySecret?: { readonly id: string; readonly uuid: string } | undefined;
}

/** The credentials' parts; none where an object of that id was planned before. */
export function planTlsCredentials(context: PlanContext, credentials: TlsCredentials): Part[] {
  const { id, dir, endpoint, verifyPeer, priority, keySecret } = credentials;
  if (context.shared.has(id)) return [];
  const parts: Part[] = [];
  if (keySecret !== undefined) parts.push(planSecret(context, keySecret.id, { type: 'tls', uuid: keySecret.uuid }));
  const part: Part = {
    kind: 'object',
    props: {
      'qom-type': 'tls-creds-x509',
      id,
      dir,
      endpoint,
      'verify-peer': verifyPeer,
      priority,
      passwordid: keySecret?.id,
    },
  };
  context.shared.set(id, part);
  return [...parts, part];
}
