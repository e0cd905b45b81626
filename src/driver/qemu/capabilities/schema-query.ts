/**
 * A small path language over the reply of `query-qmp-schema`: does this QEMU's QMP know that argument, that union
 * branch, that enumeration value, that feature? It only answers yes or no; what the answers mean is in `features.ts`.
 *
 *     blockdev-add                              the command (or event) exists
 *     blockdev-add/arg/node-name                its argument has that member
 *     query-iothreads/ret/poll-max-ns           so has its reply (arrays are looked through)
 *     blockdev-add/arg/driver=file              the member takes that value
 *     blockdev-add/arg/driver=file/aio=io_uring … and in that union branch that member takes that value
 *     device_add/$json-cli-hotplug              the command (or the member before it) carries that QAPI feature
 */

/** One entity of `query-qmp-schema`, with the fields that are read here. */
export interface SchemaEntity {
  readonly name: string;
  readonly 'meta-type': string;
  readonly 'arg-type'?: string;
  readonly 'ret-type'?: string;
  readonly 'element-type'?: string;
  readonly tag?: string;
  readonly values?: readonly string[];
  readonly members?: readonly SchemaMember[];
  readonly variants?: readonly { readonly case: string; readonly type: string }[];
  readonly features?: readonly string[];
}

/** A member of an object (with a name), of an alternate (without) or of an enumeration (name only). */
export interface SchemaMember {
  readonly name?: string;
  readonly type?: string;
  readonly features?: readonly string[];
}

/** Whether a value has the form of a schema entity as far as every one must have it; all other fields are optional. */
export function isSchemaEntity(value: unknown): value is SchemaEntity {
  return (
    typeof value === 'object' &&
    value !== null &&
    'name' in value &&
    typeof value.name === 'string' &&
    'meta-type' in value &&
    typeof value['meta-type'] === 'string'
  );
}

/** Where a path has got to: the types it may have, and the QAPI features of the last thing named. */
interface Position {
  readonly types: readonly SchemaEntity[];
  readonly features: readonly string[];
}

/** Answers paths over one schema. Building it indexes the schema once; each query then costs microseconds. */
export class SchemaQuery {
  readonly #entities: ReadonlyMap<string, SchemaEntity>;

  constructor(schema: readonly SchemaEntity[]) {
    this.#entities = new Map(schema.map((entity) => [entity.name, entity]));
  }

  /** Whether everything that `path` names exists. @throws RangeError on a path that has no meaning. */
  has(path: string): boolean {
    const [root = '', ...steps] = path.split('/');
    const entity = this.#entities.get(root);
    if (entity === undefined || !isRoot(entity)) return false;
    let position: Position | undefined = { types: [], features: entity.features ?? [] };
    for (const [index, step] of steps.entries()) {
      if (index === 0 && !step.startsWith('$')) position = this.#enterRoot(entity, step, path);
      else position = this.#step(position, step);
      if (position === undefined) return false;
    }
    return true;
  }

  /** Names of all commands, or of all events. */
  names(metaType: 'command' | 'event'): string[] {
    return [...this.#entities.values()].filter((entity) => entity['meta-type'] === metaType).map(({ name }) => name);
  }

  #enterRoot(entity: SchemaEntity, step: string, path: string): Position {
    if (step !== 'arg' && step !== 'ret')
      throw new RangeError(`schema path '${path}': expected 'arg', 'ret' or '$feature' after '${entity.name}'`);
    return { types: this.#resolve(step === 'arg' ? entity['arg-type'] : entity['ret-type']), features: [] };
  }

  #step(position: Position, step: string): Position | undefined {
    if (step.startsWith('$')) return position.features.includes(step.slice(1)) ? position : undefined;
    const [name = '', value] = step.split('=');
    const types: SchemaEntity[] = [];
    const features: string[] = [];
    let found = false;
    for (const owner of position.types) {
      for (const member of owner.members ?? []) {
        if (member.name !== name) continue;
        const memberTypes = this.#resolve(member.type);
        if (value !== undefined && !memberTypes.some((type) => type.values?.includes(value))) continue;
        found = true;
        features.push(...(member.features ?? []));
        const branch = value === undefined ? [] : this.#branch(owner, name, value);
        // A union branch's features are on its own object type.
        features.push(...branch.flatMap((type) => type.features ?? []));
        types.push(...(value === undefined ? memberTypes : [owner, ...branch]));
      }
    }
    return found ? { types, features } : undefined;
  }

  /** After `tag=value` the members of that branch are in reach, besides the common ones. */
  #branch(owner: SchemaEntity, tag: string, value: string): SchemaEntity[] {
    const branch = owner.tag === tag ? owner.variants?.find((variant) => variant.case === value) : undefined;
    return branch === undefined ? [] : this.#resolve(branch.type);
  }

  /** A type, with arrays and alternates looked through. */
  #resolve(name: string | undefined): SchemaEntity[] {
    const entity = name === undefined ? undefined : this.#entities.get(name);
    if (entity === undefined) return [];
    if (entity['meta-type'] === 'array') return this.#resolve(entity['element-type']);
    if (entity['meta-type'] === 'alternate') return (entity.members ?? []).flatMap(({ type }) => this.#resolve(type));
    return [entity];
  }
}

function isRoot(entity: SchemaEntity): boolean {
  return entity['meta-type'] === 'command' || entity['meta-type'] === 'event';
}
