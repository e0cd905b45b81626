import { describe, expect, it } from 'vitest';
import { ErrorCode } from '../../core/errors.ts';
import { errorFromWire, messageError } from '../../protocol/error.ts';
import { MessageStatus, REMOTE_PROCEDURES as P } from '../../protocol/index.ts';
import { authenticate } from '../client/authenticate.ts';
import { RpcClient } from '../client/rpc-client.ts';
import { makeVerifier, SCRAM_MECHANISM, ScramClient } from '../sasl/scram.ts';
import { Peer } from '../testing/peer.ts';
import { servedPerTest } from '../testing/served-per-test.ts';
import { socketPair } from '../testing/socket-pair.ts';
import type { SaslUsers } from './authentication.ts';
import { servedProcedures } from './procedures.ts';

const fixture = servedPerTest();
const { start, keep, newSocket, newPeer } = fixture;

describe('SASL', () => {
  const verifier = makeVerifier('secret', 4096);
  const sasl: SaslUsers = {
    verifierOf: (user) => (user === 'ada' || user === 'eve' ? verifier : undefined),
    isAllowed: (user) => user !== 'eve',
  };

  async function client(): Promise<RpcClient> {
    return new RpcClient(newSocket(), { name: 'test server' });
  }

  it('lets a user with the right password in', async () => {
    await start({ sasl });
    const known = await client();
    await authenticate(known, { credentials: { username: 'ada', password: 'secret' }, encrypted: false });
    await known.call(P.connectOpen, { name: '', flags: 0 });
    await expect(known.call(P.connectGetType, {})).resolves.toEqual({ type: 'TEST' });
    expect(fixture.served.server.clients[0]?.authentication.user).toBe('ada');
  });

  it.each([
    ['a wrong password', { username: 'ada', password: 'wrong' }],
    ['a user that does not exist', { username: 'bob', password: 'secret' }],
    ['a user that is not allowed', { username: 'eve', password: 'secret' }],
  ])('sends %s away', async (_, credentials) => {
    await start({ sasl });
    const unknown = await client();
    await expect(authenticate(unknown, { credentials, encrypted: false })).rejects.toMatchObject({
      code: ErrorCode.AUTH_FAILED,
    });
    await unknown.closed;
  });

  it('does not tell a wrong password from a user that does not exist', async () => {
    await start({ sasl });
    const messages = [];
    for (const username of ['ada', 'bob']) {
      const refused = authenticate(await client(), { credentials: { username, password: 'wrong' }, encrypted: false });
      messages.push(await refused.catch((error: unknown) => (error as Error).message));
    }
    expect(messages[0]).toBe(messages[1]);
  });

  it('serves nothing before, but what proving it takes', async () => {
    await start({ sasl });
    const peer = newPeer();
    const open = new Set(['authList', 'authSaslInit', 'authSaslStart', 'authSaslStep', 'connectSupportsFeature']);
    let serial = 1000;
    for (const [program, rows] of servedProcedures()) {
      for (const [procedure, { name }] of rows) {
        if (open.has(name)) continue;
        peer.send({ program, procedure, serial: ++serial });
        const { header, payload } = await peer.reply(serial);
        expect(header.status).toBe(MessageStatus.ERROR);
        expect(errorFromWire(messageError.read(payload)).message).toBe('authentication required');
      }
    }
    await expect(peer.ask(P.authList, {})).resolves.toEqual({ types: [1] });
  });

  it('takes no long message before', async () => {
    await start({ sasl });
    const peer = newPeer();
    peer.send({ procedure: P.authSaslStart.number }, Buffer.alloc(200_000));
    await peer.closed;
  });

  it('does not take a mechanism that it has not offered', async () => {
    await start({ sasl });
    const peer = newPeer();
    await expect(peer.ask(P.authSaslInit, {})).resolves.toEqual({ mechlist: `${SCRAM_MECHANISM} PLAIN` });
    await expect(
      peer.ask(P.authSaslStart, { mech: 'DIGEST-MD5', nil: 1, data: new Uint8Array() }),
    ).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED, message: expect.stringContaining('DIGEST-MD5') as string });
    await peer.closed;
  });

  it.each([
    ['a start without the list', P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data: Buffer.from('n,,n=a,r=b') }],
    ['a step without a start', P.authSaslStep, { nil: 0, data: Buffer.from('c=biws,r=x,p=AAAA') }],
  ])('does not take %s', async (_, procedure, args) => {
    await start({ sasl });
    const peer = newPeer();
    await expect(peer.ask(procedure as never, args as never)).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
    await peer.closed;
  });

  it('takes a password as it is only where nobody can read along', async () => {
    await start({ sasl });
    const plain = { mech: 'PLAIN', nil: 0, data: Buffer.from('\0ada\0secret') };
    const local = newPeer();
    await local.ask(P.authSaslInit, {});
    await expect(local.ask(P.authSaslStart, plain)).resolves.toMatchObject({ complete: 1 });
    await local.ask(P.connectOpen, { name: '', flags: 0 });
    const [near, far] = await socketPair();
    keep(near);
    fixture.served.server.accept(far, {
      transport: 'tcp',
      readOnly: false,
      isEncrypted: false,
      description: 'test',
      sasl,
    });
    const remote = new Peer(near);
    await expect(remote.ask(P.authSaslInit, {})).resolves.toEqual({ mechlist: SCRAM_MECHANISM });
    await expect(remote.ask(P.authSaslStart, plain)).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
    await remote.closed;
  });

  it.each(['\0ada\0wrong', '\0bob\0secret', 'ada', ''])('does not take %j for a plain password', async (text) => {
    await start({ sasl });
    const peer = newPeer();
    await peer.ask(P.authSaslInit, {});
    await expect(peer.ask(P.authSaslStart, { mech: 'PLAIN', nil: 0, data: Buffer.from(text) })).rejects.toMatchObject({
      code: ErrorCode.AUTH_FAILED,
    });
    await peer.closed;
  });

  it('is over when it has succeeded: there is no second user', async () => {
    await start({ sasl });
    const known = await client();
    await authenticate(known, { credentials: { username: 'ada', password: 'secret' }, encrypted: false });
    await expect(known.call(P.authList, {})).resolves.toEqual({ types: [0] });
    await expect(known.call(P.authSaslInit, {})).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
  });

  it('is not there where nobody asks for it', async () => {
    await start();
    const peer = newPeer();
    await expect(peer.ask(P.authList, {})).resolves.toEqual({ types: [0] });
    await expect(peer.ask(P.authSaslInit, {})).rejects.toMatchObject({ code: ErrorCode.AUTH_FAILED });
  });

  it('does not let a proof be used twice', async () => {
    await start({ sasl });
    const user = new ScramClient('ada', 'secret');
    const first = Buffer.from(user.first());
    const peer = newPeer();
    await peer.ask(P.authSaslInit, {});
    const { data } = await peer.ask(P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data: first });
    const proof = Buffer.from(user.final(Buffer.from(data).toString()));
    await expect(peer.ask(P.authSaslStep, { nil: 0, data: proof })).resolves.toMatchObject({ complete: 1 });
    const thief = newPeer();
    await thief.ask(P.authSaslInit, {});
    await thief.ask(P.authSaslStart, { mech: SCRAM_MECHANISM, nil: 0, data: first });
    await expect(thief.ask(P.authSaslStep, { nil: 0, data: proof })).rejects.toMatchObject({
      code: ErrorCode.AUTH_FAILED,
    });
  });

  it('frees the place among the unknown for the next, when it has succeeded', async () => {
    await start({ sasl, limits: { anonymousClients: 1 } });
    const known = await client();
    await authenticate(known, { credentials: { username: 'ada', password: 'secret' }, encrypted: false });
    const next = newPeer();
    await expect(next.ask(P.authList, {})).resolves.toEqual({ types: [1] });
    const tooMany = newPeer();
    await tooMany.closed;
    await expect(next.ask(P.authList, {})).resolves.toEqual({ types: [1] });
  });
});
