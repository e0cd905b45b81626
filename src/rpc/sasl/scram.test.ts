import { describe, expect, it } from 'vitest';
import { makeVerifier, SaslError, ScramClient, ScramServer } from './scram.ts';

describe('SCRAM-SHA-256', () => {
  it('matches the example of RFC 7677', () => {
    const client = new ScramClient('user', 'pencil', 'rOprNGfwEbeRWgbNEkqO');
    expect(client.first()).toBe('n,,n=user,r=rOprNGfwEbeRWgbNEkqO');
    const challenge = 'r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096';
    expect(client.final(challenge)).toBe(
      'c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=',
    );
    client.finish('v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=');
  });

  const verifier = makeVerifier('sécret', 4096);
  const lookup = (user: string) => (user === 'a=b,c' ? verifier : undefined);

  function exchange(user: string, password: string): string {
    const client = new ScramClient(user, password);
    const server = new ScramServer(lookup);
    client.finish(server.verify(client.final(server.challenge(client.first()))));
    return server.user;
  }

  it('lets both sides prove that they know the password', () => {
    expect(exchange('a=b,c', 'sécret')).toBe('a=b,c');
  });

  it('refuses a wrong password and an unknown user alike', () => {
    expect(() => exchange('a=b,c', 'secret')).toThrow(/wrong user name or password/);
    expect(() => exchange('nobody', 'sécret')).toThrow(/wrong user name or password/);
  });

  it('notices a server that does not know the password', () => {
    const client = new ScramClient('u', 'p');
    client.final(`r=${client.first().split('r=')[1]}xyz,s=AAAA,i=4096`);
    expect(() => client.finish('v=AAAA')).toThrow(/does not know the password/);
  });

  it.each([
    ['another nonce', 'r=other,s=AAAA,i=4096'],
    ['too few iterations', 'r=NONCExyz,s=AAAA,i=1'],
    ['endless iterations', 'r=NONCExyz,s=AAAA,i=99999999999'],
    ['no salt', 'r=NONCExyz,s=,i=4096'],
    ['nothing', ''],
  ])('does not answer a challenge with %s', (_, challenge) => {
    expect(() => new ScramClient('u', 'p', 'NONCE').final(challenge)).toThrow(SaslError);
  });

  it.each(['', 'n,,', 'y,,n=u,r=x', 'p=tls-unique,,n=u,r=x', 'n,,n=u', 'n,,m=1,n=u,r=x'])(
    'does not take %j for a first message',
    (first) => {
      expect(() => new ScramServer(lookup).challenge(first)).toThrow(SaslError);
    },
  );

  it('wants the proof to belong to its challenge', () => {
    const server = new ScramServer(lookup);
    expect(() => server.verify('c=biws,r=x,p=AAAA')).toThrow(/does not belong/);
    server.challenge('n,,n=a=3Db=2Cc,r=x');
    expect(() => server.verify('c=biws,r=x,p=AAAA')).toThrow(/does not belong/);
  });
});
