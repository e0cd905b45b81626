/**
 * Foreign and hostile definitions, bounded: damaged domains are planned or refused and nothing else, text never becomes more than
 * a value, and what is accepted can be written and read again. `fuzz/main.ts` runs the same for as long as wanted.
 */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { readSeeds, type Seed } from '../../fuzz/corpus.ts';
import { ATTACKS, injectionFault, textSpots } from '../../fuzz/injection.ts';
import { damage, damagedXml, HOSTILE_VALUES } from '../../fuzz/mutations.ts';
import { parseArguments } from '../../fuzz/options.ts';
import { checkRoundTrip, fuzzHost, isRefusal, tryPlan } from '../../fuzz/pipeline.ts';
import { parseUri } from '../../src/api/uri.ts';
import { VirtError } from '../../src/core/errors.ts';
import { formatSecret, parseSecret } from '../../src/model/secret.ts';
import { escapeXml } from '../support/domain-xml.ts';

const SEEDS = readSeeds();
const HOSTS = { x86_64: fuzzHost('x86_64'), aarch64: fuzzHost('aarch64') };
const hostOf = ({ name }: Seed) => HOSTS[name.startsWith('aarch64') ? 'aarch64' : 'x86_64'];

const planSeed = (name: string, change: (xml: string) => string = (xml) => xml) => {
  const seed = SEEDS.find((candidate) => candidate.name === name)!;
  const xml = change(seed.xml);
  expect(change.toString().includes('=> xml') || xml !== seed.xml).toBe(true);
  return tryPlan(xml, hostOf(seed));
};

describe('the corpus', () => {
  it.each(SEEDS)('$name is planned, and its completed form comes to the same plan', (seed) => {
    const planned = tryPlan(seed.xml, hostOf(seed));
    expect(planned).toBeDefined();
    checkRoundTrip(seed.xml);
    checkRoundTrip(planned?.xml ?? '');
    expect(parseArguments(planned?.args ?? []).length).toBeGreaterThan(10);
    expect(tryPlan(planned?.xml ?? '', hostOf(seed))?.args).toEqual(planned?.args);
  });
});

describe('damaged definitions', () => {
  it.each([
    [1, 400],
    [4, 200],
  ])('with up to %i edits are planned or refused, soon, and survive being written', (edits, runs) => {
    fc.assert(
      fc.property(damage(SEEDS, edits), (one) => {
        const xml = damagedXml(one, SEEDS);
        checkRoundTrip(xml);
        const planned = tryPlan(xml, hostOf(SEEDS[one.seed]!));
        if (planned !== undefined) checkRoundTrip(planned.xml);
      }),
      { numRuns: runs },
    );
  });

  it('of any text are XML or are not', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), fc.nat(3000), (noise, at) => {
        const xml = SEEDS[0]!.xml;
        tryPlan(xml.slice(0, at) + noise + xml.slice(at), HOSTS.aarch64);
      }),
      { numRuns: 200 },
    );
  });
});

describe('text in a definition', () => {
  const spots = SEEDS.flatMap((seed) => textSpots(seed.xml, hostOf(seed)).map((spot) => ({ seed, spot })));

  it('has many places where it is free', () => {
    expect(spots.length).toBeGreaterThan(150);
  });

  it('never becomes an option, an argument or a property', () => {
    fc.assert(
      fc.property(fc.constantFrom(...spots), fc.constantFrom(...ATTACKS), ({ seed, spot }, attack) => {
        const fault = injectionFault(seed.xml, Number.parseInt(spot, 10), attack, hostOf(seed));
        expect(fault === undefined ? undefined : `${seed.name} ${spot}: ${attack}: ${fault}`).toBeUndefined();
      }),
      { numRuns: 300 },
    );
  });
});

describe('what has been found', () => {
  it.each([
    [
      'a start of the clock beyond the calendar',
      'q35-server',
      "offset='variable' adjustment='-3600' basis='utc'",
      "offset='absolute' start='9007199254740991'",
    ],
    ['a memory address that is no number', 'q35-memory', "base='0x100000000'", "base='here'"],
    [
      'a PCI controller of a model that has no slots',
      'q35-hostdev',
      "index='1' model='pcie-root-port'",
      "index='1' model='none'",
    ],
    ['a CPU feature with a comma, which -cpu cannot escape', 'q35-server', "name='ssse3'", "name='ssse3,vendor=evil'"],
    [
      'a set of host CPUs without members',
      'q35-memory',
      "memory mode='strict' nodeset='0-1'",
      "memory mode='strict' nodeset='0,^0'",
    ],
    ['a CPU model with a comma', 'aarch64-virt', '>cortex-a72<', '>cortex-a72,pmu=off<'],
    [
      'a forwarding rule in an address',
      'q35-server',
      "address='127.0.0.1'><range",
      "address='127.0.0.1:1-:2,tcp:'><range",
    ],
    ['a swtpm option in the path of its state', 'q35-server', "path='/srv/tpm'", "path='/srv/tpm,lock=no'"],
  ])('%s is refused', (_, name, from, to) => {
    expect(planSeed(name)).toBeDefined();
    expect(planSeed(name, (text) => text.replace(from, to))).toBeUndefined();
  });

  it('overrides may have a sign and any property name', () => {
    const property = "name='queue-size' type='unsigned' value='128'";
    const planned = planSeed('q35-uefi', (text) =>
      text.replace(property, "name='__proto__' type='signed' value='-0x10'"),
    );
    expect(planned?.args.find((word) => word.includes('ua-root"'))).toContain('"__proto__":-16');
    expect(planSeed('q35-uefi', (text) => text.replace("value='128'", "value='+128'"))?.args.join(' ')).toContain(
      '"queue-size":128',
    );
  });

  it('a CPU feature may be called as a property of every object', () => {
    const planned = planSeed('q35-server', (text) => text.replace("name='ssse3'", "name='constructor'"));
    expect(planned?.args.join(' ')).toContain(',constructor=on,');
  });

  it('a listen address with = in it stays an address', () => {
    const planned = planSeed('pc-legacy', (text) => text.replace("address='::1'", "address='password=on'"));
    expect(planned?.args.join(' ')).toMatch(/-vnc vnc=password=on:0,websocket/);
  });

  it('descriptor sets of disks and of logs have numbers of their own', () => {
    const log =
      "<serial type='null'><log file='/srv/a.log'/></serial><serial type='null'><log file='/srv/b.log'/></serial>";
    const planned = planSeed('q35-server', (text) =>
      text.replace("<serial type='pty'><target port='0'/></serial>", log),
    );
    const sets = parseArguments(planned?.args ?? [])
      .filter(({ option }) => option === 'add-fd')
      .map(({ properties }) => properties.find(({ key }) => key === 'set')?.value);
    expect(new Set(sets).size).toBe(sets.length);
  });
});

describe('large definitions', () => {
  const repeat = (count: number, device: (index: number) => string) =>
    planSeed('microvm', (text) =>
      text.replace('</devices>', `${Array.from({ length: count }, (_, index) => device(index)).join('')}</devices>`),
    );
  const q35 = (count: number, device: (index: number) => string) =>
    planSeed('q35-server', (text) =>
      text.replace('</devices>', `${Array.from({ length: count }, (_, index) => device(index)).join('')}</devices>`),
    );

  it.each([
    [
      'disks',
      (index: number) =>
        `<disk type='file' device='disk'><source file='/srv/${index}'/><target dev='vd${letters(index + 1)}' bus='virtio'/></disk>`,
    ],
    ['interfaces', () => "<interface type='user'><model type='virtio'/></interface>"],
    ['USB devices', () => "<input type='tablet' bus='usb'/>"],
    ['channels', (index: number) => `<channel type='null'><target type='virtio' name='c${index}'/></channel>`],
    ['PCI bridges', (index: number) => `<controller type='pci' index='${index + 1}' model='pcie-root-port'/>`],
  ])('1000 %s are planned or refused in time', (_, device) => {
    q35(1000, device);
    repeat(1000, device);
  });

  it('a backing chain of 200 images is planned, one of 100,000 is refused', () => {
    const chain = (depth: number) =>
      "<backingStore type='file'><format type='qcow2'/><source file='/srv/b'/>".repeat(depth) +
      '</backingStore>'.repeat(depth);
    const at = "<target dev='vda' bus='virtio'/>\n      <serial>ROOT-1";
    expect(planSeed('q35-server', (text) => text.replace(at, chain(200) + at))).toBeDefined();
    expect(planSeed('q35-server', (text) => text.replace(at, chain(100_000) + at))).toBeUndefined();
  });
});

/** `a` … `z`, `aa` …: 1 is `b`. */
function letters(index: number): string {
  const rest = Math.floor(index / 26) - 1;
  return (rest < 0 ? '' : letters(rest)) + String.fromCharCode('a'.charCodeAt(0) + (index % 26));
}

describe('other foreign text', () => {
  const value = fc.oneof(fc.constantFrom(...HOSTILE_VALUES), fc.string({ unit: 'binary', maxLength: 20 }));

  it('secrets are read and written again, or refused', () => {
    const attributes = fc.record({ ephemeral: value, private: value, type: value, text: value, uuid: value });
    fc.assert(
      fc.property(attributes, fc.constantFrom('volume', 'name', 'target', 'uuid', 'x'), (given, element) => {
        const xml = `<secret ephemeral='${escapeXml(given.ephemeral)}' private='no'><uuid>${escapeXml(given.uuid)}</uuid><description>${escapeXml(given.text)}</description><usage type='${escapeXml(given.type)}'><${element}>${escapeXml(given.text)}</${element}></usage></secret>`;
        try {
          const written = formatSecret(parseSecret(xml));
          expect(formatSecret(parseSecret(written))).toBe(written);
        } catch (error) {
          if (!isRefusal(error)) throw error;
        }
      }),
      { numRuns: 500 },
    );
  });

  it('URIs are understood or refused with VirtError, and a root is absolute', () => {
    const parts = fc.array(
      fc.oneof(
        value,
        fc.constantFrom('qemu', '://', '/embed', '?', 'root=', '&', '#', '%00', '%2F', '//', 'qemu:///embed?root=/'),
      ),
    );
    fc.assert(
      fc.property(parts, (list) => {
        try {
          const uri = parseUri(list.join(''));
          if (uri.kind !== 'embed') return;
          expect(uri.root ?? '/').toMatch(/^\//);
          expect(uri.root ?? '').not.toContain('\0');
        } catch (error) {
          if (!(error instanceof VirtError)) throw error;
        }
      }),
      { numRuns: 2000 },
    );
  });
});
