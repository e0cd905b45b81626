/**
 * `<domain>`: the whole definition, composed of one file per element family, and its reader and writer. Only
 * what libvirt's format says of every hypervisor; what QEMU adds or refuses is in its driver.
 */
import { formatXml } from '../../xml/format.ts';
import { XmlElement } from '../../xml/node.ts';
import { parseXml } from '../../xml/parse.ts';
import { FaultList } from '../schema/faults.ts';
import {
  attr,
  child,
  children,
  content,
  emptyAsAbsent,
  type Infer,
  NAMESPACES,
  ReadContext,
  raw,
  struct,
} from '../schema/schema.ts';
import { sizeKiB } from '../schema/sizes.ts';
import { int, integer, oneOf, text, uuid, type ValueCodec, ValueError } from '../schema/values.ts';
import { blkiotune } from './blkiotune.ts';
import { clock } from './clock.ts';
import { cpu } from './cpu.ts';
import { devices } from './devices/devices.ts';
import { features } from './features.ts';
import { idmap } from './idmap.ts';
import { launchSecurity } from './launch-security.ts';
import { lifecycleFields } from './lifecycle.ts';
import { lxcNamespace } from './lxc-namespace.ts';
import { maxMemory, memory, memoryBacking, memtune } from './memory.ts';
import { numatune } from './numatune.ts';
import { os } from './os.ts';
import { perf } from './perf.ts';
import { qemuCapabilities, qemuCommandline, qemuDeprecation, qemuOverride } from './qemu-namespace.ts';
import { resource } from './resource.ts';
import { seclabel } from './seclabel.ts';
import { sysinfo } from './sysinfo.ts';
import { throttleGroups } from './throttle-groups.ts';
import { cputune, defaultIothread, iothreadids, vcpu, vcpus } from './vcpu.ts';

/** Virtualization types of `<domain type='…'>`. */
export const DOMAIN_TYPES = [
  'qemu',
  'kvm',
  'hvf',
  'lxc',
  'test',
  'xen',
  'vbox',
  'vmware',
  'bhyve',
  'vz',
  'openvz',
] as const;

/** Longest name whose files (`NAME.xml`, `NAME-serial0.log`) every file system takes, in bytes. */
const NAME_MAX_BYTES = 230;

/** A domain's name is also the name of its files. */
const domainName: ValueCodec<string> = {
  describe: 'text without / and line breaks',
  parse: (value) => {
    if (value.trim() === '') throw new ValueError('is empty');
    if (/[/\n\r\0]/.test(value)) throw new ValueError("holds '/' or a line break");
    if (value === '.' || value === '..') throw new ValueError('is no name for a file');
    if (Buffer.byteLength(value) > NAME_MAX_BYTES) throw new ValueError(`is longer than ${NAME_MAX_BYTES} bytes`);
    return value;
  },
  format: (value) => value,
};

/** Each is a thread of the host: more are a slip of the pen, and each takes memory here before QEMU could say so. */
const IOTHREADS_MAX = 4096;

const genid = struct(() => ({ value: content(uuid) }));

export const domainSchema = struct(() => ({
  type: attr(oneOf(...DOMAIN_TYPES)),
  id: attr(int),
  name: child(domainName),
  uuid: child(emptyAsAbsent(uuid)),
  genid: child(genid),
  title: child(text),
  description: child(text),
  metadata: raw(),
  maxMemory: child(maxMemory),
  memory: child(memory),
  currentMemory: child(sizeKiB()),
  defaultIothread: child(defaultIothread, 'defaultiothread'),
  blkiotune: child(blkiotune),
  memtune: child(memtune),
  memoryBacking: child(memoryBacking),
  vcpu: child(vcpu),
  vcpus: child(vcpus),
  iothreads: child(integer({ max: IOTHREADS_MAX })),
  iothreadids: child(iothreadids),
  cputune: child(cputune),
  numatune: child(numatune),
  resource: child(resource),
  sysinfos: children(sysinfo, 'sysinfo'),
  bootloader: child(text),
  bootloaderArgs: child(text, 'bootloader_args'),
  os: child(os),
  idmap: child(idmap),
  features: child(features),
  cpu: child(cpu),
  clock: child(clock),
  ...lifecycleFields,
  perf: child(perf),
  throttleGroups: child(throttleGroups, 'throttlegroups'),
  devices: child(devices),
  seclabels: children(seclabel, 'seclabel'),
  keywrap: raw(),
  launchSecurity: child(launchSecurity),
  qemuCommandline: child(qemuCommandline, 'qemu:commandline'),
  qemuCapabilities: child(qemuCapabilities, 'qemu:capabilities'),
  qemuOverride: child(qemuOverride, 'qemu:override'),
  qemuDeprecation: child(qemuDeprecation, 'qemu:deprecation'),
  lxcNamespace: child(lxcNamespace, 'lxc:namespace'),
}));

/** A domain definition: mirrors the XML, one property per element and attribute. */
export interface Domain extends Infer<typeof domainSchema> {}

/** What parsing gives besides the definition. */
export interface ParsedDomain {
  readonly domain: Domain;
  /** Elements and attributes kept without being understood, in words. */
  readonly warnings: readonly string[];
}

/**
 * Reads a domain definition. Checks form only; a driver completes and validates it.
 * @throws {XmlSyntaxError} when the text is not well-formed.
 * @throws {DefinitionError} with every fault of form at once.
 */
export function parseDomain(source: string | XmlElement, options: { fileName?: string } = {}): ParsedDomain {
  const root = source instanceof XmlElement ? source : parseXml(source, options).root;
  const faults = new FaultList();
  const context = new ReadContext(faults);
  const domain = context.inside(root.name, () => {
    if (root.name !== 'domain') context.fault(root, `the root element is <${root.name}>, not <domain>`);
    return domainSchema.readElement(root, context);
  });
  faults.throwIfAny('domain XML', options.fileName);
  const warnings = context.unknown.map(({ path, line, column, suggestion, repeated }) => {
    const hint = suggestion === undefined ? '' : ` (did you mean '${suggestion}'?)`;
    const reason = repeated === true ? 'appears more than once and only the first counts' : `is not known${hint}`;
    return `${options.fileName ?? 'domain XML'}:${line}:${column}: ${path} ${reason}; it is kept and has no effect`;
  });
  return { domain, warnings };
}

/** Writes a definition as libvirt does. */
export function formatDomain(domain: Domain): string {
  return formatXml(domainToXml(domain));
}

/** The definition as a tree. */
export function domainToXml(domain: Domain): XmlElement {
  const element = domainSchema.writeElement('domain', domain);
  for (const [prefix, uri] of Object.entries(NAMESPACES)) {
    const used = element.elements().some((child) => child.name.startsWith(`${prefix}:`));
    if (used) element.setAttribute(`xmlns:${prefix}`, uri);
  }
  return element;
}
