/** What starting a container would do, as data: the runtime's configuration and the command around it. Starts nothing. */
import { randomBytes, randomUuid } from '../../../core/random.ts';
import { hostArch } from '../../../host/cpu.ts';
import { type Domain, parseDomain } from '../../../model/domain/domain.ts';
import type { DomainPlan } from '../../driver.ts';
import { findImageServers } from '../host/image-exports.ts';
import { completeContainer } from '../plan/complete-definition.ts';
import type { ContainerFacts } from '../plan/container-context.ts';
import { planContainer } from '../plan/container-plan.ts';
import { imagePlaces, planImageExport } from '../plan/image-export.ts';
import { planMonitor } from '../plan/monitor.ts';
import { type RuntimeName, staysWithContainer } from '../plan/oci-runtime.ts';
import { planOuterCommand, quoteWord } from '../plan/outer-command.ts';
import { mapLines, type Person } from '../plan/person.ts';
import { containerPlaces } from './container-places.ts';
import { findMonitor, hiddenCgroup, readContainerFacts } from './host-facts.ts';

/** Stands for the folder that a start makes. */
const FOLDER = '/run/nestling/XXXXXXXX/lxc/1';
/** Stands for the device that an image becomes, as its helper names it. */
const DEVICE_OF_IMAGE = '/dev/loopN';

/** The same from XML, without a connection. @throws XmlSyntaxError, DefinitionError, VirtError */
export function planContainerXml(
  xml: string,
  {
    name,
    fileName,
    runtime,
  }: {
    readonly name?: string | undefined;
    readonly fileName?: string | undefined;
    /** That containers are to run on. */
    readonly runtime?: RuntimeName | undefined;
  },
): DomainPlan {
  const { domain } = parseDomain(xml, fileName === undefined ? {} : { fileName });
  if (name !== undefined) domain.name = name;
  completeContainer(domain, { hostArch: hostArch(), uuid: randomUuid, randomBytes });
  return describeContainerPlan(domain, () => undefined, runtime);
}

export function describeContainerPlan(
  domain: Domain,
  initOf: ContainerFacts['initOf'],
  runtime?: RuntimeName,
): DomainPlan {
  const mapped = domain.idmap !== undefined;
  const places = containerPlaces(FOLDER, { mapped });
  const facts = readContainerFacts(domain, initOf, runtime);
  const plan = planContainer(domain, facts, places);
  const images = plan.prepared.flatMap(({ kind, source: file, format = 'raw', readonly, at }) => {
    if (kind !== 'image') return [];
    return [planImageExport({ file, format, readonly }, findImageServers(), imagePlaces(FOLDER, String(at)))];
  });
  const {
    command,
    args: waiting,
    script,
  } = planOuterCommand({
    ...places,
    root: plan.spec.root.path,
    runtime: facts.runtime,
    id: 'c1',
    prepared: plan.prepared.map((mount) =>
      mount.kind === 'image' ? { ...mount, kind: 'device', source: DEVICE_OF_IMAGE } : mount,
    ),
    sharedNamespaces: plan.sharedNamespaces,
    mountPlace: places.mount,
    hiddenCgroup: hiddenCgroup(),
    privateNetwork: plan.privateNetwork && !plan.ownUsers,
    unprivileged: facts.person !== undefined,
    monitor: staysWithContainer(facts.runtime) ? undefined : planMonitor(findMonitor(false), FOLDER),
  });
  // A start lets the command wait for the script, which says the same.
  const args = [...waiting.slice(0, -2), script];
  return {
    binary: command,
    arguments: args,
    environment: {},
    command: `${[command, ...args.slice(0, -1)].map(quoteWord).join(' ')} \\\n  ${quoteWord(script).replaceAll(' && ', ' && \\\n   ')}`,
    fds: [],
    files: [{ path: `${places.bundle}/config.json`, content: plan.spec }],
    helpers: [
      ...(facts.person?.mappers === undefined ? [] : mapCommands(facts.person, facts.person.mappers)),
      ...images,
    ],
    deferred: [],
  };
}

/** Who writes the ids of the namespace around the runtime, once that is there as process PID. */
function mapCommands({ ids }: Person, mappers: NonNullable<Person['mappers']>): object[] {
  return (['uid', 'gid'] as const).map((kind) => ({
    command: mappers[kind],
    args: ['PID', ...mapLines(ids[`${kind}s`]).flat()],
  }));
}
