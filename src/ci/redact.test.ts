/** What must not leave a machine, and what must stay readable. */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { redactEnvironment, redactText, redactXml } from './redact.ts';

describe('environment', () => {
  it.each([
    ['GITHUB_TOKEN', 'abc', '(left out)'],
    ['DB_PASSWORD', 'abc', '(left out)'],
    ['AWS_SECRET_ACCESS_KEY', 'abc', '(left out)'],
    ['REGISTRY_AUTH', 'abc', '(left out)'],
    ['PATH', '/bin', '/bin'],
    ['http_proxy', 'http://me:abc@gate:3128', 'http://(left out)@gate:3128'],
    ['JAVA_OPTS', '-Dpassword=abc -Xmx1g', '-Dpassword=(left out) -Xmx1g'],
  ])('%s=%s', (name, value, shown) => {
    expect(redactEnvironment({ [name]: value })).toBe(`${name}=${shown}\n`);
  });
});

describe('text', () => {
  it.each([
    ['agent --token abc --url x', 'agent --token (left out) --url x'],
    ['agent --password=abc run', 'agent --password=(left out) run'],
    ['curl -H Authorization: Bearer abcdefgh123', 'curl -H Authorization: Bearer (left out)'],
    ['git clone https://me:abc@host/x.git', 'git clone https://(left out)@host/x.git'],
    ['"api_key": "a b c", "x": 1', '"api_key": (left out), "x": 1'],
    ['-----BEGIN RSA PRIVATE KEY-----\nabc\n-----END RSA PRIVATE KEY-----\nx', '(left out)\nx'],
  ])('%s', (text, shown) => expect(redactText(text)).toBe(shown));

  it.each([
    '-object secret,id=masterKey0,format=raw,file=/run/x',
    '-netdev user,id=n0 -device virtio-keyboard-pci',
    'qemu-system-x86_64 -machine q35 --no-user-config',
    'sshd: /usr/sbin/sshd -D [listener]',
  ])('stays: %s', (text) => expect(redactText(text)).toBe(text));

  it('the value of an assignment never stays, whatever it is made of', () => {
    const value = fc.stringMatching(/^[a-zA-Z0-9+/=_.]{6,30}$/);
    fc.assert(
      fc.property(value, fc.constantFrom('password', 'db-token', 'API_KEY', 'client_secret'), (secret, name) => {
        expect(redactText(`x ${name}=<${secret}> y`)).not.toContain(secret);
      }),
      { numRuns: 200 },
    );
  });
});

describe('definitions', () => {
  it.each([
    ["<graphics type='vnc' passwd='abc' port='1'/>", "<graphics type='vnc' passwd='(left out)' port='1'/>"],
    ["<cookie name='c'>abc</cookie>", "<cookie name='c'>(left out)</cookie>"],
    ['<my:password>abc</my:password>', '<my:password>(left out)</my:password>'],
    ["<qemu:env name='X_TOKEN' value='abc'/>", "<qemu:env name='X_TOKEN' value='(left out)'/>"],
    ["<qemu:arg value='secret,id=s,data=abc'/>", "<qemu:arg value='(left out)'/>"],
    ["<qemu:arg value='-s'/>", "<qemu:arg value='-s'/>"],
    ["<secret type='ceph' uuid='1-2'/>", "<secret type='ceph' uuid='1-2'/>"],
    ["<source name='http://me:abc@h/x'/>", "<source name='http://(left out)@h/x'/>"],
  ])('%s', (xml, shown) => expect(redactXml(xml)).toBe(shown));
});
