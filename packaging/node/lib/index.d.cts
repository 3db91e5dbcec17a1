/** Conditions on requests: `{ model: "gpt-4o", user: "*weather*" }`. */
export interface When {
  model?: Text;
  user?: Text;
  system?: Text;
  path?: Text;
  method?: Text;
  header?: Record<string, Text>;
  query?: Record<string, Text>;
  stream?: boolean;
  /** A tool that the request offers. */
  tool?: Text;
  /** `true`: a tool has returned a result since the last user message. */
  tool_result?: boolean;
  turn?: number;
  /** Members of the body by path: `{ "metadata.test": "a" }`. */
  body?: Record<string, unknown>;
  [key: string]: unknown;
}

/** A glob, or one of the other patterns. */
export type Text = string | { exact: string } | { glob: string } | { regex: string };

/** Conditions on requests that have been received. */
export interface Verification extends When {
  /** `429` or `"4xx"`. */
  status?: number | string;
  outcome?: Outcome;
  attempt?: number;
}

export type Outcome = "complete" | "client_left" | "fault" | "drained";

export interface ToolCall {
  name: string;
  arguments?: unknown;
  /** In place of `arguments`: any text. */
  text?: string;
}

/** A scripted reply. */
export interface Reply {
  when?: When;
  text?: string;
  chunks?: string[];
  echo?: true;
  lorem?: true;
  refusal?: string;
  tool_calls?: ToolCall[];
  sequence?: Reply[];
  reasoning?: string;
  finish_reason?: string;
  usage?: Record<string, number>;
  times?: number;
  [key: string]: unknown;
}

/** A request that the server has received, and what became of it. */
export interface Received {
  id: string;
  method: string;
  /** Without the scope and faults in front of it. */
  path: string;
  query: string;
  /** Names are in lower case. Values of secrets are masked. */
  headers: Record<string, string>;
  /** The parsed JSON; a text if it is none; undefined if it is longer than `--journal-body`. */
  body: any;
  model?: string;
  stream: boolean;
  /** Undefined while the response has not begun. */
  status?: number;
  /** Undefined while the response is being sent. */
  outcome?: Outcome;
  /** The whole entry of the journal. */
  entry: any;
}

export interface Wait {
  /** A time to wait until it holds: in milliseconds, or as `"2s"`. */
  within?: number | string;
}

/** The number of requests. Without it: at least one. */
export interface Times extends Wait {
  times?: number;
  atLeast?: number;
  atMost?: number;
}

/** A space of its own on a server: limits, faults, replies, stored objects and requests are separate. */
export class Scope {
  protected constructor();
  /** Undefined: the server itself. Its methods concern all scopes; `reply` and `fault` the default one. */
  readonly name: string | undefined;
  /** The URL without an API's path, for clients that add theirs. */
  readonly url: string;
  /** The URL of the OpenAI API. */
  readonly baseURL: string;
  /** Another scope of the same server: 1 to 64 characters of `A-Z a-z 0-9 _ . -`. */
  scope(name: string): Scope;
  /** Options of `new OpenAI()`. */
  openai<T extends object = {}>(more?: T): { baseURL: string; apiKey: string } & T;
  /** Options of `new AzureOpenAI()`. */
  azure<T extends object = {}>(more?: T): { endpoint: string; apiKey: string; apiVersion: string } & T;
  /** Options of `new Anthropic()`. */
  anthropic<T extends object = {}>(more?: T): { baseURL: string; apiKey: string } & T;
  /** Options of `new GoogleGenAI()`. */
  gemini<T extends object = {}>(more?: T): { apiKey: string; httpOptions: { baseUrl: string } } & T;
  /** Environment variables that SDKs read. */
  env(): Record<string, string>;
  /** Scripts a reply. */
  reply(reply: Reply): Promise<any>;
  reply(text: string, more?: Reply): Promise<any>;
  /** Injects a fault, such as `429x2` or `cut@40`, into the requests that match. */
  fault(fault: string, options?: { when?: When }): Promise<any>;
  /** Fails requests that no reply of this scope matches, in place of the built-in reply. */
  strict(strict?: boolean): Promise<void>;
  /** Forgets requests, replies, faults, progress, limits and objects. */
  reset(): Promise<void>;
  /** Ends the scope: as `reset`, and its name is free again. */
  drop(): Promise<void>;
  /** The requests, oldest first. */
  requests(): Promise<Received[]>;
  /** Rejects with an `AssertionError` that has the nearest request, unless the number of matching requests is right. */
  verify(when?: Verification, times?: Times): Promise<void>;
  /** Rejects with an `AssertionError` unless requests have met these conditions one after the other. */
  verifyInOrder(steps: Verification[], wait?: Wait): Promise<void>;
  /** The requests in words, a line each, with the errors that they got. */
  summary(): Promise<string>;
}

/** A server of its own. It stops with `stop()`, and when this process ends, however it ends. */
export class FakeOpenAI extends Scope {
  protected constructor();
  /** What the server has written to standard error. */
  log(): string;
  /** Stops the server. A second call has no effect. */
  stop(): Promise<void>;
}

export interface StartOptions {
  /** Flags of `fake-openai`: `["--rpm", "100"]`. */
  args?: string[];
  env?: Record<string, string>;
}

/** The server did not start, or refused a call. The text is the server's. */
export class FakeOpenAIError extends Error {}

/** Starts a server on a free port of this machine. */
export function startFakeOpenAI(options?: StartOptions): Promise<FakeOpenAI>;
/** A server that runs already, for example in a container. Its admin API needs a token from other machines. */
export function connectFakeOpenAI(url: string, options?: { adminToken?: string }): Scope;
/** The path of the program in the package of this platform. */
export function binary(): string;
