/**
 * Firmware as QEMU gets it: `-bios`, or flash memory made of block nodes for code and variables. Which firmware it
 * is was decided by `firmware-defaults.ts`.
 */
import type { OsNvram } from '../../../model/domain/os.ts';
import { type DomainContext, type PlanContext, refuse } from '../context.ts';
import { planImage } from '../devices/blockdev/layers.ts';
import type { Part } from '../plan/parts.ts';
import type { Props } from '../plan/props.ts';

const CODE_NODE = 'libvirt-pflash0';
const VARIABLES_NODE = 'libvirt-pflash1';

type Domain = DomainContext['domain'];

/** Nodes, `-bios` and the flash lock of secure boot; asks for the variables' file to be made. */
export function planFirmware(context: PlanContext): Part[] {
  const loader = context.domain.os?.loader;
  if (loader?.value === undefined) return [];
  if (loader.type !== 'pflash') return [{ kind: 'option', option: 'bios', value: loader.value }];
  const parts = [
    ...planCode(loader.value, loader.format ?? 'raw', loader.readonly === true),
    ...planVariables(context),
  ];
  if (loader.secure === true) {
    parts.push({
      kind: 'keyval',
      option: 'global',
      props: { driver: 'cfi.pflash01', property: 'secure', value: true },
    });
  }
  return parts;
}

/** `pflash0` and `pflash1` of `-machine`. */
export function pflashProps({ domain }: Pick<DomainContext, 'domain'>): Props {
  if (domain.os?.loader?.type !== 'pflash') return {};
  const nvram = variablesOf(domain);
  const layer = nvram?.format === 'qcow2' ? 'format' : 'storage';
  return { pflash0: `${CODE_NODE}-format`, pflash1: nvram === undefined ? undefined : `${VARIABLES_NODE}-${layer}` };
}

/** The variables, where the guest has any of its own. */
function variablesOf({ os }: Domain): OsNvram | undefined {
  return os?.nvram?.value !== undefined || os?.nvram?.source !== undefined ? os.nvram : undefined;
}

function planCode(filename: string, format: 'raw' | 'qcow2', readonly: boolean): Part[] {
  return [storageNode('file', filename, CODE_NODE, INNER), formatNode(CODE_NODE, format, readonly)];
}

/** A node below a format node is opened for writing only when needed, and passes discards on. */
const INNER: Props = { 'auto-read-only': true, discard: 'unmap' };

function planVariables(context: PlanContext): Part[] {
  const nvram = variablesOf(context.domain);
  if (nvram === undefined) return [];
  if (nvram.type === 'network') return planNetworkVariables(nvram, context);
  const format = nvram.format ?? 'raw';
  const filename = nvram.value ?? nvram.source?.file ?? nvram.source?.dev ?? '';
  const driver = nvram.type === 'block' ? 'host_device' : 'file';
  if (driver === 'file') requestCopy(nvram, filename, context);
  if (format === 'raw') return [storageNode(driver, filename, VARIABLES_NODE, { 'read-only': false })];
  return [storageNode(driver, filename, VARIABLES_NODE, INNER), formatNode(VARIABLES_NODE, format, false)];
}

function requestCopy(nvram: OsNvram, path: string, context: PlanContext): void {
  if (nvram.template === undefined) return;
  const from = nvram.templateFormat ?? 'raw';
  const to = nvram.format ?? 'raw';
  const format = from === to ? undefined : { from, to };
  context.files.push({
    kind: 'copy',
    path,
    template: nvram.template,
    mode: 0o600,
    ...(format === undefined ? {} : { format }),
  });
}

function planNetworkVariables(nvram: OsNvram, context: PlanContext): Part[] {
  const { source } = nvram;
  if (source === undefined) return refuse("<nvram type='network'> has no <source>: give one");
  const image = {
    type: 'network',
    source,
    format: nvram.format ?? 'raw',
    encryption: source.encryption,
    auth: source.auth,
    metadataCacheBytes: undefined,
    readonly: false,
    top: true,
    floppy: false,
    cdrom: false,
    driver: {},
    dataStore: undefined,
    nodePrefix: VARIABLES_NODE,
    backing: null,
  } as const;
  return planImage(image, context, VARIABLES_NODE).parts;
}

function storageNode(driver: string, filename: string, node: string, options: Props): Part {
  return { kind: 'blockdev', props: { driver, filename, 'node-name': `${node}-storage`, ...options } };
}

function formatNode(node: string, format: 'raw' | 'qcow2', readonly: boolean): Part {
  const props: Props = {
    'node-name': `${node}-format`,
    'read-only': readonly,
    driver: format,
    file: `${node}-storage`,
  };
  return { kind: 'blockdev', props: format === 'qcow2' ? { ...props, backing: null } : props };
}
