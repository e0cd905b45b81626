import { describe, expect, it } from 'vitest';
import { chooseBundle } from './choose-bundle.ts';

const FILES: Readonly<Record<string, string>> = {
  'plain.xml': "<domain><devices><interface type='user'/><disk type='file'/></devices></domain>",
  'network.xml': "<domain><interface\n  type = 'network'><source network='default'/></interface></domain>",
  'box.xml': "<domain type='lxc'><devices><interface type='bridge'/></devices></domain>",
  'network-box.xml': "<domain type='lxc'><devices><interface type='network'/></devices></domain>",
  'volume.xml': '<domain><disk device="disk" type="volume"/></domain>',
};
const choose = (...words: string[]) => chooseBundle(words, (path) => FILES[path] ?? '');

describe('chooseBundle', () => {
  it('takes the small one for guests that need nothing else', () => {
    expect(choose('run', 'plain.xml')).toBe('cli-run');
    expect(choose('run', '--root', '/tmp/x', 'plain.xml', '--console')).toBe('cli-run');
    expect(choose('run', '--help')).toBe('cli-run');
    expect(choose('run', 'missing.xml')).toBe('cli-run');
  });

  it('takes the one for containers', () => {
    expect(choose('run', 'box.xml')).toBe('cli-container');
  });

  it.each([
    [['run', 'network-box.xml']],
    [['run', '--dry-run', 'box.xml']],
    [['run', 'network.xml']],
    [['run', '--console', 'volume.xml']],
    [['run', '-']],
    [['run', '--listen=/x', 'plain.xml']],
    [['doctor', 'plain.xml']],
    [[]],
  ])('takes the whole one for %j', (words) => {
    expect(choose(...words)).toBe('cli-main');
  });

  it('minds no file that cannot be read', () => {
    expect(chooseBundle(['run', '/nowhere/x.xml'])).toBe('cli-run');
  });
});
