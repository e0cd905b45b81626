/**
 * The domain format as libvirt's RELAX NG schema and its manual have it (Debian: libvirt-daemon and libvirt-doc; both
 * are read where they are installed, nothing of them is copied): whatever they allow to QEMU guests is known to our
 * reader, and comes back when it is written.
 */
import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { formatDomain, parseDomain } from '../../src/model/domain/domain.ts';
import { DefinitionError } from '../../src/model/schema/faults.ts';
import { formatXml } from '../../src/xml/format.ts';
import { XmlElement } from '../../src/xml/node.ts';
import { parseXml, XmlSyntaxError } from '../../src/xml/parse.ts';
import { GrammarSampler, seededRandom } from './relaxng.ts';

const SCHEMA = '/usr/share/libvirt/schemas/domain.rng';
const MANUAL = '/usr/share/doc/libvirt-doc/html/formatdomain.html';
for (const path of [SCHEMA, MANUAL]) {
  if (!existsSync(path)) process.stderr.write(`\nSKIPPED, LOUDLY: ${path} is not installed\n\n`);
}

/** Definitions of the grammar that are for other hypervisors, or internal to libvirt. */
const FOREIGN = new Set(
  'bhyvecmdline xencmdline lxcsharens vmwaredatacenterpath osexe idmap osxen ostypexen ostypeexe ostypeuml privateDataDeviceDisk privateDataStorageSource'.split(
    ' ',
  ),
);
const HYPERVISORS = new Set('xen lxc bhyve vz parallels openvz vmware vbox test uml kqemu hvf phyp hyperv'.split(' '));

/** What the grammar allows and libvirt itself does not read, for guests of QEMU at least. */
const NOT_READ: readonly (readonly [RegExp, string])[] = [
  [/\/privateData$/, "libvirt's own state"],
  [/\/hostdev\/(?:ip|route)$/, 'LXC only'],
  [/\/hostdev\/source\/adapter\/@type$/, 'an attribute of storage pools'],
  [/\/hostdev\/source\/address\/@multifunction$/, 'no property of a device on the host'],
  [/\/interface\/source\/address\/@multifunction$/, 'no property of a device on the host'],
  [/\/interface\/source\/(?:vendor|product)$/, 'USB interfaces do not exist'],
  [/\/(?:serial|parallel)\/@tty$/, 'output of libvirt before 0.4'],
  [/\/parallel\/target\/(?:@type|model)$/, 'the grammar shares the target of serial ports'],
  [/\/console\/target\/model$/, 'the grammar shares the target of serial ports'],
  [/\/smartcard\/target$/, 'the grammar shares the character device'],
  [/\/launchSecurity\/handle$/, 'output of a draft of SEV'],
];

/** What the grammar allows and libvirt's parser refuses as well. */
const REFUSED: readonly (readonly [RegExp, RegExp])[] = [
  [/cputune\/\w*quota$/, /below 1000/],
  [/cputune\/(?:iothread|vcpu)sched$/, /lacks attribute/],
  [/hyperv\/stimer$/, /lacks attribute 'state'/],
  [/hyperv\/spinlocks/, /outside 4095/],
  [/(?:\/source\/@mode|\/target\/@(?:port|type)|\/nvram\/@type)$/, /unknown|not a whole number/],
  [/\/master\/@startport$/, /not a whole number/],
  [/\/controller\/target\/@index$/, /outside 0 to 30/],
  [/\/address\/@domain$/, /outside 0 to 65535/],
  [/\/(?:portForward\/range|interface\/source)\/@/, /outside/],
  [/\/usbdev\/@version$/, /not a device version/],
  [/reservations$/, /lacks attribute 'managed'/],
  [/\/adapter$/, /lacks attribute 'name'/],
  [/\/(?:redirfilter)$/, /only once/],
  [/\/@(?:namespace|size|busNr|timerPeriod|voices|bufferLength|frequency|channels)$|\/audio\/@id$/, /outside 1/],
  [/\/source\/local\/@port$/, /outside/],
  [/\/cache\/line\/@value$/, /outside/],
];

const GRAMMAR_SAMPLES = {
  cpuset: ['0-3,^2', '1', '0,2-3'],
  unit: ['KiB', 'b', 'bytes', 'k', 'M', 'GB'],
  unsignedInt: ['1', '2', '7'],
  positiveInteger: ['1', '3'],
  hvs: [],
};

describe.skipIf(!existsSync(SCHEMA))('the schema of domains', () => {
  const outcomes = existsSync(SCHEMA) ? sampleDomains(3000).map(tryDomain) : [];

  it('holds nothing that our reader does not know', () => {
    expect(notExplained(outcomes.flatMap(({ unknown }) => unknown))).toEqual([]);
    expect(outcomes.filter(({ refusals }) => refusals.length === 0).length).toBeGreaterThan(outcomes.length / 2);
  });

  it('holds nothing that our reader refuses and libvirt accepts', () => {
    expect([...new Set(outcomes.flatMap(({ refusals }) => refusals))]).toEqual([]);
  });

  it('is written back whole, and reads the same again', () => {
    expect([...new Set(outcomes.flatMap(({ lost }) => lost))]).toEqual([]);
  });
});

describe.skipIf(!existsSync(MANUAL))('the manual’s examples', () => {
  const examples = existsSync(MANUAL) ? readExamples(readFileSync(MANUAL, 'utf8')) : [];

  it('are found', () => expect(examples.length).toBeGreaterThan(80));

  it('hold nothing that our reader does not know or refuses', () => {
    const problems = examples.flatMap((example) => {
      const { unknown, refusals, lost } = tryDomain(example);
      return [...notExplained(unknown), ...refusals, ...lost];
    });
    expect(problems.filter((problem) => !NO_EXAMPLES.some((known) => known.test(problem)))).toEqual([]);
  });
});

/** Units are converted; `labelskip` says what libvirt did in an earlier run, and is read back by none. */
const DROPPED = /@(?:unit|xmlns:\w+)$|\/source\/seclabel(?:\/@\w+)?$/;

interface Outcome {
  readonly unknown: readonly string[];
  readonly refusals: readonly string[];
  /** Elements and attributes that writing dropped, and changes by a second round. */
  readonly lost: readonly string[];
}

function tryDomain(root: XmlElement): Outcome {
  try {
    const { domain, warnings } = parseDomain(formatXml(root));
    const text = formatDomain(domain);
    const written = new Set(namesIn(parseXml(text).root));
    const lost = namesIn(root).filter((name) => !written.has(name) && !DROPPED.test(name));
    if (formatDomain(parseDomain(text).domain) !== text) lost.push(`changes when read again: ${text}`);
    // Alternatives that stand beside each other in an example are no gap of the reader.
    const notKnown = warnings.filter((warning) => !warning.includes(' more than once '));
    const unknown = notKnown.map((warning) => plainPath(/^domain XML:\d+:\d+: (\S+)/.exec(warning)?.[1] ?? warning));
    return { unknown, refusals: [], lost };
  } catch (error) {
    if (!(error instanceof DefinitionError)) throw error;
    const refusals = error.faults
      .map(({ path, message }) => ({ path: plainPath(path), message }))
      .filter(({ path, message }) => !REFUSED.some(([where, what]) => where.test(path) && what.test(message)))
      .map(({ path, message }) => `${path}: ${message}`);
    return { unknown: [], refusals, lost: [] };
  }
}

function notExplained(unknown: readonly string[]): string[] {
  return [...new Set(unknown)].filter((path) => !NOT_READ.some(([pattern]) => pattern.test(path)));
}

function plainPath(path: string): string {
  return path.replace(/\[\d+\]/g, '');
}

/** The paths of all elements and attributes. */
function namesIn(element: XmlElement, path = element.name): string[] {
  return [
    path,
    ...element.attributes.map(({ name }) => `${path}/@${name}`),
    ...element.elements().flatMap((child) => namesIn(child, `${path}/${child.name}`)),
  ];
}

/** Whole domains, and plain ones with random devices. */
function sampleDomains(count: number): XmlElement[] {
  const sampler = new GrammarSampler(SCHEMA, seededRandom(20_240_229), {
    isWanted: (node) =>
      !(node.name === 'ref' && FOREIGN.has(node.attribute('name') ?? '')) &&
      !(node.name === 'value' && HYPERVISORS.has(node.text)),
    samples: GRAMMAR_SAMPLES,
    prefixes: { 'http://libvirt.org/schemas/domain/qemu/1.0': 'qemu:' },
  });
  return Array.from({ length: count }, (_, index) =>
    index % 4 === 0 ? sampler.sample('domain') : wrap(sampler.sample('devices')),
  );
}

/** A domain around a fragment of one. */
function wrap(...fragments: readonly XmlElement[]): XmlElement {
  const { root } = parseXml("<domain type='kvm'><name>guest</name><memory>1024</memory></domain>");
  const known = new Set(['name', 'memory']);
  root.children.push(...fragments.filter(({ name }) => !known.has(name)));
  return root;
}

/** Examples about other hypervisors, and slips of the manual. */
const NO_EXAMPLES: readonly RegExp[] = [
  // 'file|anonymous|memfd' lists the values.
  /value '[a-z]+(?:\|[a-z]+)+' is unknown/,
  // The ranges of an example stand outside their element.
  /\/portForward\/(?:port|@start|@end|@exclude)$/,
  // A fragment of a character device.
  /^domain\/log$/,
];

/** The XML in the manual's literal blocks; fragments get a domain around them. */
function readExamples(html: string): XmlElement[] {
  const blocks = [...html.matchAll(/<pre class="literal-block">([\s\S]*?)<\/pre>/g)].map(([, block = '']) => block);
  return blocks.flatMap((block) => {
    const text = unescapeHtml(block.replace(/<[^>]*>/g, ''))
      .replace(/^\s*<\?xml.*\?>/, '')
      .replace(/^\s*\.\.\.\s*$|(?<=>)\s*\.\.\.\s*(?=<|$)/gm, '');
    try {
      const { root } = parseXml(`<fragment xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>${text}</fragment>`);
      return root.elements().length === 0 ? [] : [toDomain(root.elements())];
    } catch (error) {
      // An excerpt that ends in the middle of an element.
      if (error instanceof XmlSyntaxError) return [];
      throw error;
    }
  });
}

function toDomain(elements: readonly XmlElement[]): XmlElement {
  const domain = elements.find(({ name }) => name === 'domain');
  if (domain !== undefined) return domain;
  const devices = elements.filter(({ name }) => DEVICES.has(name));
  if (devices.length === 0) return wrap(...elements);
  return wrap(new XmlElement('devices', { children: [...devices] }));
}

const DEVICES = new Set(
  'emulator disk controller lease filesystem interface input sound audio hostdev graphics video console parallel serial channel smartcard hub redirdev redirfilter rng tpm shmem watchdog memballoon nvram panic iommu vsock'.split(
    ' ',
  ),
);

function unescapeHtml(text: string): string {
  const named: Record<string, string> = { lt: '<', gt: '>', quot: '"', amp: '&', nbsp: ' ' };
  return text
    .replace(/&#(\d+);/g, (_, code: string) => String.fromCodePoint(Number(code)))
    .replace(/&(\w+);/g, (whole, name: string) => named[name] ?? whole);
}
