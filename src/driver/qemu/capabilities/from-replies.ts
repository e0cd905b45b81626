/**
 * QEMU's answers → `QemuCapabilities`. Pure: the answers may come from a live process or from a recorded dialogue.
 */
import { isJsonObject, type JsonObject, type JsonValue } from '../../../qmp/json.ts';
import {
  type AcceleratorCapabilities,
  type AcceleratorName,
  CAPABILITIES_FORMAT,
  type QemuCapabilities,
  type QemuCpuDefinition,
  type QemuCpuModel,
  type QemuMachine,
} from './capabilities.ts';
import { FEATURE_QUERIES, type FeatureName } from './features.ts';
import { PROBED_DEVICES, PROBED_MACHINES, PROBED_OBJECTS, type ProbedType } from './probed-types.ts';
import { CapabilitiesReplyError, type ProbeReply, ReplyBook } from './replies.ts';
import { isSchemaEntity, SchemaQuery } from './schema-query.ts';

/** Digests the answers of one process that was asked everything. @throws CapabilitiesReplyError */
export function capabilitiesFromReplies(binary: string, replies: Iterable<ProbeReply>): QemuCapabilities {
  const book = new ReplyBook(replies);
  const version = asObject(book.required('query-version'), 'query-version');
  const numbers = asObject(version['qemu'], 'query-version');
  const kvm = book.value('query-kvm');
  const enabled = isJsonObject(kvm) && kvm['enabled'] === true;
  const schema = readSchema(book);
  return {
    format: CAPABILITIES_FORMAT,
    binary,
    version: {
      major: asNumber(numbers['major']),
      minor: asNumber(numbers['minor']),
      micro: asNumber(numbers['micro']),
    },
    package: asString(version['package']),
    arch: asString(asObject(book.required('query-target'), 'query-target')['arch']),
    kvm: { present: isJsonObject(kvm) && kvm['present'] === true, enabled },
    machines: readMachines(book),
    accelerators: { [enabled ? 'kvm' : 'tcg']: readAccelerator(book, enabled ? 'kvm' : 'tcg') },
    types: readTypes(book),
    properties: readProperties(book),
    options: readOptions(book),
    migrationCapabilities: objects(book.value('query-migrate-capabilities')).map((entry) =>
      asString(entry['capability']),
    ),
    tpmModels: strings(book.value('query-tpm-models')),
    tpmTypes: strings(book.value('query-tpm-types')),
    ...readSev(book),
    ...readSgx(book),
    commands: schema.names('command'),
    events: schema.names('event'),
    features: (Object.keys(FEATURE_QUERIES) as FeatureName[]).filter((name) => schema.has(FEATURE_QUERIES[name])),
  };
}

/** Adds what a further process of the same binary answered under another accelerator. */
export function addAccelerator(
  capabilities: QemuCapabilities,
  accelerator: AcceleratorName,
  replies: Iterable<ProbeReply>,
): QemuCapabilities {
  const book = new ReplyBook(replies);
  const machines = readMachines(book);
  const same = JSON.stringify(machines) === JSON.stringify(capabilities.machines);
  const added = { ...readAccelerator(book, accelerator), ...(!same && { machines }) };
  return { ...capabilities, accelerators: { ...capabilities.accelerators, [accelerator]: added } };
}

function readSchema(book: ReplyBook): SchemaQuery {
  const schema = book.required('query-qmp-schema');
  if (!Array.isArray(schema)) throw new CapabilitiesReplyError('query-qmp-schema', 'returned no list');
  return new SchemaQuery(schema.map((entity): unknown => entity).filter(isSchemaEntity));
}

function readMachines(book: ReplyBook): QemuMachine[] {
  return objects(book.required('query-machines'))
    .map((machine) => ({
      name: asString(machine['name']),
      ...(typeof machine['alias'] === 'string' && { alias: machine['alias'] }),
      ...(machine['is-default'] === true && { isDefault: true }),
      cpuMax: asNumber(machine['cpu-max']),
      ...(machine['hotpluggable-cpus'] === true && { hotpluggableCpus: true }),
      ...(machine['numa-mem-supported'] === true && { numaMemSupported: true }),
      ...(typeof machine['default-cpu-type'] === 'string' && { defaultCpuType: machine['default-cpu-type'] }),
      ...(typeof machine['default-ram-id'] === 'string' && { defaultRamId: machine['default-ram-id'] }),
      ...(machine['deprecated'] === true && { deprecated: true }),
      ...(typeof machine['acpi'] === 'boolean' && { acpi: machine['acpi'] }),
    }))
    .sort(byName);
}

function readAccelerator(book: ReplyBook, accelerator: AcceleratorName): AcceleratorCapabilities {
  const hostModel = readHostModel(book, accelerator);
  const cpus = objects(book.value('query-cpu-definitions')).map(readCpu).sort(byName);
  return { cpus, ...(hostModel && { hostModel }) };
}

function readCpu(cpu: JsonObject): QemuCpuDefinition {
  const missing = cpu['unavailable-features'];
  return {
    name: asString(cpu['name']),
    typename: asString(cpu['typename']),
    ...(Array.isArray(missing) && { unavailableFeatures: strings(missing) }),
    ...(cpu['deprecated'] === true && { deprecated: true }),
    ...(typeof cpu['alias-of'] === 'string' && { aliasOf: cpu['alias-of'] }),
  };
}

function readHostModel(book: ReplyBook, accelerator: AcceleratorName): QemuCpuModel | undefined {
  const name = accelerator === 'kvm' ? 'host' : 'max';
  const expand = (type: string, props?: JsonObject) =>
    modelProps(book.value('query-cpu-model-expansion', { type, model: { name, ...(props && { props }) } }));
  const props = expand('static') ?? expand('full');
  if (props === undefined) return undefined;
  const free = expand('static', { migratable: false });
  const passthrough = expand('full', { migratable: false, 'hv-passthrough': true });
  return {
    name,
    props,
    ...(free && { nonMigratable: Object.keys(free).filter((key) => free[key] === true && props[key] !== true) }),
    ...(passthrough && { hyperv: enlightenments(passthrough) }),
  };
}

/** `hv-passthrough` is the request itself, not one of them. */
function enlightenments(props: QemuCpuModel['props']): string[] {
  return Object.keys(props).filter((key) => key.startsWith('hv-') && key !== 'hv-passthrough' && props[key] === true);
}

function modelProps(expansion: JsonValue | undefined): Record<string, boolean | number | string> | undefined {
  const model = isJsonObject(expansion) ? expansion['model'] : undefined;
  const props = isJsonObject(model) ? model['props'] : undefined;
  if (!isJsonObject(props)) return undefined;
  const known: Record<string, boolean | number | string> = {};
  for (const key of Object.keys(props).sort()) {
    const value = props[key];
    if (typeof value === 'boolean' || typeof value === 'number' || typeof value === 'string') known[key] = value;
  }
  return known;
}

/** CPU and machine types are half of all types, and have lists of their own. */
function readTypes(book: ReplyBook): string[] {
  const names = objects(book.required('qom-list-types')).map((type) => asString(type['name']));
  return names.filter((name) => !name.endsWith('-machine') && !name.endsWith('-cpu')).sort();
}

function readProperties(book: ReplyBook): Partial<Record<ProbedType, string[]>> {
  const properties: Partial<Record<ProbedType, string[]>> = {};
  const read = (command: string, type: ProbedType) => {
    const reply = book.value(command, { typename: type });
    if (reply !== undefined) properties[type] = objects(reply).map((property) => asString(property['name']));
  };
  for (const type of PROBED_DEVICES) read('device-list-properties', type);
  for (const type of [...PROBED_OBJECTS, ...Object.values(PROBED_MACHINES).flat()]) read('qom-list-properties', type);
  return properties;
}

function readOptions(book: ReplyBook): Record<string, string[]> {
  const options: Record<string, string[]> = {};
  for (const entry of objects(book.required('query-command-line-options'))) {
    const parameters = objects(entry['parameters']).map((parameter) => asString(parameter['name']));
    options[asString(entry['option'])] = [...new Set(parameters)];
  }
  return options;
}

function readSev(book: ReplyBook): Pick<QemuCapabilities, 'sev'> {
  const sev = book.value('query-sev-capabilities');
  if (!isJsonObject(sev)) return {};
  return {
    sev: {
      pdh: asString(sev['pdh']),
      certChain: asString(sev['cert-chain']),
      ...(typeof sev['cpu0-id'] === 'string' && { cpu0Id: sev['cpu0-id'] }),
      cbitPos: asNumber(sev['cbitpos']),
      reducedPhysBits: asNumber(sev['reduced-phys-bits']),
    },
  };
}

function readSgx(book: ReplyBook): Pick<QemuCapabilities, 'sgx'> {
  const sgx = book.value('query-sgx-capabilities');
  if (!isJsonObject(sgx) || sgx['sgx'] !== true) return {};
  const sections = objects(sgx['sections']).map((section) => ({
    node: asNumber(section['node']),
    sizeBytes: asNumber(section['size']),
  }));
  return { sgx: { flc: sgx['flc'] === true, sgx1: sgx['sgx1'] === true, sgx2: sgx['sgx2'] === true, sections } };
}

function asObject(value: JsonValue | undefined, command: string): JsonObject {
  if (!isJsonObject(value)) throw new CapabilitiesReplyError(command, 'returned no object');
  return value;
}

function objects(value: JsonValue | undefined): JsonObject[] {
  return Array.isArray(value) ? value.filter(isJsonObject) : [];
}

function strings(value: JsonValue | undefined): string[] {
  return Array.isArray(value) ? value.filter((item) => typeof item === 'string') : [];
}

function asString(value: JsonValue | undefined): string {
  return typeof value === 'string' ? value : '';
}

function asNumber(value: JsonValue | undefined): number {
  return typeof value === 'number' ? value : 0;
}

function byName(a: { readonly name: string }, b: { readonly name: string }): number {
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
