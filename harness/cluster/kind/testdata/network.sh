set -e
echo 1 >/proc/sys/net/ipv4/ip_forward
test "$(cat /proc/sys/net/ipv4/ip_forward)" = 1
ip route replace 10.244.0.0/24 via 172.20.4.2
ip route replace 10.244.2.0/24 via 172.20.4.4
mkdir -p /etc/cni/net.d
cat >/etc/cni/net.d/.lbmatrix
mv /etc/cni/net.d/.lbmatrix /etc/cni/net.d/10-lbmatrix.conflist
