// A server of S3 that takes next to no processor time: objects in memory, one thread, one system call for most answers.
//
// A user's server is another machine and costs the client's cores nothing; a real server on the same cores would be
// what is measured. Known are GET with ranges and If-Match, HEAD, PUT with If-None-Match, If-Match and metadata,
// DELETE, and ListObjectsV2. Signatures are not looked at; uploads in parts are answered 501. Used by object_server.py.
//
// It prints its port, and ends when its standard input does. Each line there has two numbers: how many milliseconds
// every answer waits from then on, and the mean of what it waits besides, which is exponentially distributed. The line
// is repeated on standard output when that holds.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <queue>
#include <random>
#include <string>
#include <string_view>
#include <vector>

namespace {

using Clock = std::chrono::steady_clock;

// From here on a body is sent from a file of memory, without a copy in the server.
constexpr std::size_t kLargeBytes = 64 << 10;
constexpr std::size_t kReadBytes = 1 << 20;

struct Content {
  std::string text;  // empty if it is large
  int file = -1;
  std::size_t size = 0;

  explicit Content(std::string_view bytes) : size(bytes.size()) {
    if (size < kLargeBytes) {
      text = bytes;
      return;
    }
    file = memfd_create("object", 0);
    for (std::size_t done = 0; done < size;) {
      const ssize_t count = write(file, bytes.data() + done, size - done);
      if (count <= 0) std::abort();
      done += static_cast<std::size_t>(count);
    }
  }
  ~Content() {
    if (file >= 0) close(file);
  }
  Content(const Content&) = delete;
  Content& operator=(const Content&) = delete;
};

struct Object {
  std::shared_ptr<const Content> content;
  std::string version;   // its ETag
  std::string metadata;  // lines of headers
  std::string modified;
};

struct Request {
  std::string method, path;  // the path is decoded
  std::map<std::string, std::string> query, headers;
  std::string_view body;

  std::string header(const std::string& name) const { return find(headers, name); }
  std::string argument(const std::string& name) const { return find(query, name); }

 private:
  static std::string find(const std::map<std::string, std::string>& in, const std::string& name) {
    const auto at = in.find(name);
    return at == in.end() ? std::string() : at->second;
  }
};

struct Answer {
  std::string head;  // and a body that is small
  std::shared_ptr<const Content> content;
  off_t first = 0, stop = 0;  // of a large content
};

struct Connection {
  std::string in;
  std::size_t wanted = 0;  // bytes of the request that is being read; 0: not known
  Answer out;
  std::size_t sent = 0;  // of the head
  bool is_waiting = false, is_polled_to_write = false;
  unsigned long number = 0;  // file numbers are used again
};

std::map<std::string, Object> objects;  // by /bucket/key, in the order of bytes
std::map<int, Connection> connections;
struct Waiting {
  Clock::time_point due;
  int socket;
  unsigned long number;
  bool operator>(const Waiting& other) const { return due > other.due; }
};
std::priority_queue<Waiting, std::vector<Waiting>, std::greater<>> waiting;  // the next one that is due first
double delay_ms = 0, spread_ms = 0;
std::mt19937 random_bits{1};
unsigned long count_connections = 0, count_versions = 0;
int poll_file = -1;

std::string now() {
  static std::time_t last = 0;
  static char text[40];
  const std::time_t seconds = std::time(nullptr);
  if (seconds != last) {
    last = seconds;
    std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", std::gmtime(&seconds));
  }
  return text;
}

std::string decode(std::string_view text, bool is_query) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '%' && i + 2 < text.size()) {
      out += static_cast<char>(std::strtol(std::string(text.substr(i + 1, 2)).c_str(), nullptr, 16));
      i += 2;
    } else {
      out += is_query && text[i] == '+' ? ' ' : text[i];
    }
  }
  return out;
}

std::string encode(std::string_view text) {
  static const char* digits = "0123456789ABCDEF";
  std::string out;
  for (const unsigned char c : text) {
    if (std::isalnum(c) || c == '-' || c == '_' || c == '.' || c == '/') {
      out += static_cast<char>(c);
    } else {
      out += {'%', digits[c >> 4], digits[c & 15]};
    }
  }
  return out;
}

Answer plain(const char* status, std::string_view body = {}, std::string_view headers = {}) {
  Answer answer;
  answer.head = "HTTP/1.1 ";
  answer.head.append(status).append("\r\nDate: ").append(now()).append("\r\n").append(headers);
  answer.head.append("Content-Length: ").append(std::to_string(body.size())).append("\r\n\r\n").append(body);
  return answer;
}

Answer refused(const char* status, const char* code) {
  return plain(status, std::string("<Error><Code>") + code + "</Code></Error>", "Content-Type: application/xml\r\n");
}

Answer get(const Request& request, bool is_head) {
  const auto found = objects.find(request.path);
  if (found == objects.end()) return refused("404 Not Found", "NoSuchKey");
  const Object& object = found->second;
  const std::string match = request.header("if-match"), range = request.header("range");
  if (!match.empty() && match != object.version) return refused("412 Precondition Failed", "PreconditionFailed");
  std::size_t first = 0, stop = object.content->size;
  Answer answer;
  answer.head = range.empty() ? "HTTP/1.1 200 OK\r\n" : "HTTP/1.1 206 Partial Content\r\n";
  if (!range.empty()) {
    char* end = nullptr;
    first = std::strtoul(range.c_str() + 6, &end, 10);  // bytes=
    if (end[1] != '\0') stop = std::min(stop, std::strtoul(end + 1, nullptr, 10) + 1);
    if (first >= stop) return refused("416 Range Not Satisfiable", "InvalidRange");
    answer.head += "Content-Range: bytes " + std::to_string(first) + "-" + std::to_string(stop - 1) + "/" +
                   std::to_string(object.content->size) + "\r\n";
  }
  answer.head += "Date: " + now() + "\r\nLast-Modified: " + object.modified + "\r\nETag: " + object.version + "\r\n" +
                 object.metadata + "Content-Length: " + std::to_string(stop - first) + "\r\n\r\n";
  if (is_head) return answer;
  if (object.content->file < 0) {
    answer.head.append(object.content->text, first, stop - first);
    return answer;
  }
  answer.content = object.content;
  answer.first = static_cast<off_t>(first);
  answer.stop = static_cast<off_t>(stop);
  return answer;
}

Answer put(const Request& request) {
  if (request.path.find('/', 1) == std::string::npos) return plain("200 OK");  // a bucket
  if (!request.query.empty() && request.query.count("x-id") == 0)
    return refused("501 Not Implemented", "NotImplemented");
  const auto found = objects.find(request.path);
  const std::string match = request.header("if-match");
  const bool exists = found != objects.end();
  if ((exists && request.header("if-none-match") == "*") ||
      (!match.empty() && (!exists || found->second.version != match)))
    return refused("412 Precondition Failed", "PreconditionFailed");
  Object object;
  object.content = std::make_shared<Content>(request.body);
  object.version = "\"" + std::to_string(++count_versions) + "\"";
  object.modified = now();
  for (const auto& [name, value] : request.headers)
    if (name.rfind("x-amz-meta-", 0) == 0) object.metadata += name + ": " + value + "\r\n";
  const std::string headers = "ETag: " + object.version + "\r\n";
  objects[request.path] = std::move(object);
  return plain("200 OK", {}, headers);
}

// ListObjectsV2 of a bucket, whose token is the last name that was listed.
Answer list(const Request& request) {
  const std::string bucket = request.path.substr(0, request.path.find('/', 1)) + "/";
  const std::string prefix = request.argument("prefix"), delimiter = request.argument("delimiter");
  std::string after = request.argument("continuation-token");
  const std::string most = request.argument("max-keys");
  const std::size_t room = most.empty() ? 1000 : std::strtoul(most.c_str(), nullptr, 10);
  std::string text = "<ListBucketResult><EncodingType>url</EncodingType>";
  std::size_t listed = 0;
  bool is_cut = false;
  auto at = objects.lower_bound(bucket + std::max(prefix, after));
  while (at != objects.end() && at->first.compare(0, bucket.size() + prefix.size(), bucket + prefix) == 0) {
    const std::string key = at->first.substr(bucket.size());
    const std::size_t end = delimiter.empty() ? std::string::npos : key.find(delimiter, prefix.size());
    const std::string name = end == std::string::npos ? key : key.substr(0, end + delimiter.size());
    if (name <= after) {  // was in the answer before
      ++at;
      continue;
    }
    if (listed == room) {
      is_cut = true;
      break;
    }
    ++listed;
    after = name;
    if (end == std::string::npos) {
      text += "<Contents><Key>" + encode(key) + "</Key><Size>" + std::to_string(at->second.content->size) +
              "</Size><ETag>" + at->second.version + "</ETag></Contents>";
      ++at;
    } else {
      text += "<CommonPrefixes><Prefix>" + encode(name) + "</Prefix></CommonPrefixes>";
      while (at != objects.end() && at->first.compare(0, bucket.size() + name.size(), bucket + name) == 0) ++at;
    }
  }
  text += is_cut ? "<IsTruncated>true</IsTruncated><NextContinuationToken>" + encode(after) + "</NextContinuationToken>"
                 : "<IsTruncated>false</IsTruncated>";
  return plain("200 OK", text + "</ListBucketResult>", "Content-Type: application/xml\r\n");
}

Answer answer(const Request& request) {
  const std::string& method = request.method;
  const bool is_object = request.path.find('/', 1) < request.path.size() - 1;
  if (method == "GET" && request.query.count("list-type") != 0) return list(request);
  if (method == "GET" && is_object) return get(request, false);
  if (method == "HEAD" && is_object) return get(request, true);
  if (method == "GET" && request.query.count("uploads") != 0)
    return plain("200 OK", "<ListMultipartUploadsResult/>", "Content-Type: application/xml\r\n");
  if (method == "GET" || method == "HEAD") return plain("200 OK");
  if (method == "PUT") return put(request);
  if (method == "DELETE") {
    objects.erase(request.path);
    return plain("204 No Content");
  }
  return refused("501 Not Implemented", "NotImplemented");
}

void parse(std::string_view head, Request& request) {
  const std::size_t space = head.find(' '), line = head.find("\r\n");
  const std::string_view target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
  request.method = head.substr(0, space);
  const std::size_t mark = target.find('?');
  request.path = decode(target.substr(0, mark), false);
  std::string_view query = mark == std::string_view::npos ? std::string_view() : target.substr(mark + 1);
  while (!query.empty()) {
    const std::string_view each = query.substr(0, query.find('&'));
    const std::size_t equals = std::min(each.find('='), each.size());
    request.query[decode(each.substr(0, equals), true)] =
        equals < each.size() ? decode(each.substr(equals + 1), true) : std::string();
    query.remove_prefix(std::min(query.size(), each.size() + 1));
  }
  for (std::size_t at = line + 2; at < head.size();) {
    const std::size_t end = std::min(head.find("\r\n", at), head.size());
    const std::string_view each = head.substr(at, end - at);
    const std::size_t colon = each.find(':');
    if (colon != std::string_view::npos) {
      std::string name(each.substr(0, colon));
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return std::tolower(c); });
      const std::size_t value = each.find_first_not_of(' ', colon + 1);
      request.headers[name] = value == std::string_view::npos ? std::string_view() : each.substr(value);
    }
    at = end + 2;
  }
}

void watch(int socket, Connection& connection, bool writes) {
  if (connection.is_polled_to_write == writes) return;
  connection.is_polled_to_write = writes;
  epoll_event event{};
  event.events = writes ? EPOLLOUT : EPOLLIN;
  event.data.fd = socket;
  epoll_ctl(poll_file, EPOLL_CTL_MOD, socket, &event);
}

bool serve(int socket, Connection& connection);

void hang_up(int socket) {
  connections.erase(socket);
  close(socket);
}

// Sends what there is; false if the client has gone away.
bool send_out(int socket, Connection& connection) {
  Answer& out = connection.out;
  while (connection.sent < out.head.size()) {
    const ssize_t count = send(socket, out.head.data() + connection.sent, out.head.size() - connection.sent,
                               MSG_NOSIGNAL | (out.content ? MSG_MORE : 0));
    if (count < 0 && errno == EAGAIN) return watch(socket, connection, true), true;
    if (count < 0) return false;
    connection.sent += static_cast<std::size_t>(count);
  }
  while (out.content && out.first < out.stop) {
    const ssize_t count =
        sendfile(socket, out.content->file, &out.first, static_cast<std::size_t>(out.stop - out.first));
    if (count < 0 && errno == EAGAIN) return watch(socket, connection, true), true;
    if (count <= 0) return false;
  }
  out = Answer();
  connection.sent = 0;
  connection.is_waiting = false;
  watch(socket, connection, false);
  return serve(socket, connection);
}

// Answers a request that has come wholly; false if the client has gone away.
bool serve(int socket, Connection& connection) {
  if (connection.is_waiting) return true;
  std::string& in = connection.in;
  const std::size_t end = in.find("\r\n\r\n");
  if (end == std::string::npos) return true;
  Request request;
  parse(std::string_view(in).substr(0, end), request);
  const std::size_t size = std::strtoul(request.header("content-length").c_str(), nullptr, 10);
  if (connection.wanted == 0 && !request.header("expect").empty() && in.size() < end + 4 + size)
    send(socket, "HTTP/1.1 100 Continue\r\n\r\n", 25, MSG_NOSIGNAL);
  connection.wanted = end + 4 + size;
  if (in.size() < connection.wanted) return true;
  request.body = std::string_view(in).substr(end + 4, size);
  connection.out = answer(request);
  in.erase(0, connection.wanted);
  connection.wanted = 0;
  connection.is_waiting = true;
  if (delay_ms == 0 && spread_ms == 0) return send_out(socket, connection);
  double wait_ms = delay_ms;
  if (spread_ms > 0) wait_ms += std::exponential_distribution<>(1 / spread_ms)(random_bits);
  waiting.push(
      {Clock::now() + std::chrono::microseconds(static_cast<long>(wait_ms * 1000)), socket, connection.number});
  return true;
}

bool receive(int socket, Connection& connection) {
  static std::string buffer(kReadBytes, '\0');
  const ssize_t count = recv(socket, buffer.data(), buffer.size(), 0);
  if (count < 0 && errno == EAGAIN) return true;
  if (count <= 0) return false;
  connection.in.append(buffer, 0, static_cast<std::size_t>(count));
  return connection.in.size() < connection.wanted || serve(socket, connection);
}

void send_due() {
  while (!waiting.empty() && waiting.top().due <= Clock::now()) {
    const Waiting first = waiting.top();
    waiting.pop();
    const auto found = connections.find(first.socket);
    if (found != connections.end() && found->second.number == first.number && !send_out(first.socket, found->second))
      hang_up(first.socket);
  }
}

void add(int socket) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.fd = socket;
  epoll_ctl(poll_file, EPOLL_CTL_ADD, socket, &event);
}

}  // namespace

int main() {
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t length = sizeof address;
  auto* any = reinterpret_cast<sockaddr*>(&address);
  if (bind(listener, any, length) != 0 || listen(listener, 1024) != 0 || getsockname(listener, any, &length) != 0)
    return 1;
  poll_file = epoll_create1(0);
  add(listener);
  add(STDIN_FILENO);
  std::printf("%d\n", ntohs(address.sin_port));
  std::fflush(stdout);
  epoll_event events[256];
  while (true) {
    int timeout = -1;
    if (!waiting.empty())
      timeout = static_cast<int>(
          std::max<long>(0, std::chrono::ceil<std::chrono::milliseconds>(waiting.top().due - Clock::now()).count()));
    const int count = epoll_wait(poll_file, events, 256, timeout);
    send_due();
    for (int i = 0; i < count; ++i) {
      const int at = events[i].data.fd;
      if (at == STDIN_FILENO) {
        char line[64];
        if (std::fgets(line, sizeof line, stdin) == nullptr) return 0;
        char* end = line;
        delay_ms = std::strtod(line, &end);
        spread_ms = std::strtod(end, nullptr);
        std::printf("%s", line);
        std::fflush(stdout);
      } else if (at == listener) {
        const int made = accept4(listener, nullptr, nullptr, SOCK_NONBLOCK);
        if (made < 0) continue;
        const int yes = 1;
        setsockopt(made, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        connections[made].number = ++count_connections;
        add(made);
      } else if (const auto found = connections.find(at); found != connections.end()) {
        Connection& connection = found->second;
        if (!(connection.is_polled_to_write ? send_out(at, connection) : receive(at, connection))) hang_up(at);
      }
    }
  }
}
